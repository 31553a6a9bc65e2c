"""What is said in a diagram: names, fields, amounts, and the finding."""

import math
from fractions import Fraction

import seqlayers as sl
from seqlayers.sequence import ChannelSpec
from seqlayers.summary import LayerSummary

from .. import style
from ..shapes import fit, fit_name, text_width
from ..traces.diagram import DiagramTrace
from ..traces.edges import describe
from .diagram_layout import UNNAMED, Line
from .words import plural, thousands


def names(node: LayerSummary) -> tuple[str, str]:
    """The name of a layer, and its type if that is another."""
    tail = node.path.rpartition('/')[2]
    name = node.layer.name or (tail if not UNNAMED.fullmatch(tail) else node.type)
    return name, '' if name == node.type else node.type


def block_words(line: Line) -> tuple[str, str, str]:
    """What stands in a block: its name, its type, and fields in words. '▸' is before what is folded."""
    node = line.nodes[0]
    if len(line.nodes) > 1:
        kinds = {node.type for node in line.nodes}
        return f'▸ {len(line.nodes)} more', '', kinds.pop() if len(kinds) == 1 else 'layers'
    (name, kind), layer = names(node), node.layer
    if line.kind == 'folded':
        leaves = plural(sum(not inside.children for inside in node.walk()), 'layer', 'layers')
        times = f'× {layer.num_repeats}, ' if isinstance(layer, sl.Repeat) else ''
        return f'▸ {name}', kind, times + leaves
    words = [describe(layer)[1]]
    if (heads := getattr(layer, 'num_heads', None)) and (units := getattr(layer, 'units_per_head', None)):
        words.insert(0, f'{heads} × {units}')
    if isinstance(layer, sl.Ref | sl.EmbeddingTranspose):
        words.insert(0, layer.shared_name if isinstance(layer, sl.Ref) else layer.embedding)
    return name, kind, ', '.join(filter(None, words))


def beside(kind: str, words: str, room: float) -> str:
    """Type and fields, as much as there is room for; the fields say more."""
    words = fit(words, room, style.SMALL) if room > 60 or text_width(words, style.SMALL) <= room else ''
    left = room - text_width(words + ' · ' * bool(words), style.SMALL)
    kind = fit_name(kind, left, style.SMALL) if kind and left > 40 else ''
    return ' · '.join(filter(None, [kind, words]))


def shape(spec: ChannelSpec | None) -> str:
    """'4 × 16'; of a sequence of single numbers 'scalar'."""
    return '?' if spec is None else ' × '.join(map(str, spec.shape)) or 'scalar'


def amount_words(amount: int | None) -> str:
    """A count, in millions if it is long."""
    if amount is None:
        return '?'
    if amount < 10**8:
        return thousands(amount)
    return f'{amount / 10**6:.0f} M' if amount < 10**11 else f'{amount / 10**9:.0f} G'


def subtitle(trace: DiagramTrace) -> str:
    root = trace.root
    if trace.problems:
        return 'Figures belong to the block beside them; what is outlined only was not reached.'
    if root.offset is None:
        return 'Figures belong to the block beside them. A dashed block cannot step.'
    return (
        'Figures belong to the block beside them; what adds latency, or waits for it, is blue. Latency in input steps.'
    )


def title(trace: DiagramTrace) -> str:
    """The finding: what is broken or blocks, or where latency and state come from."""
    root = trace.root
    if trace.problems:
        path, _ = next(iter(trace.problems.items()))
        where = f'{trace.name}: {path}' if path else trace.name
        failed = any(node.status == 'failed' for node in root.walk())
        return f'{where} cannot be built' if failed else f'{where} breaks the contract'
    if root.offset is None:
        blocked = blockers(root)
        others = f' and {len(blocked) - 1} more' if len(blocked) > 1 else ''
        return f'{trace.name} cannot run in steps, because of {names(blocked[0])[0]}{others}'
    late = root.latency or Fraction(0)
    steps = plural(int(late), 'input step', 'input steps') if late.denominator == 1 else f'{late} input steps'
    leaves = [node for node in root.walk() if not node.children]
    waiting = [node for node in leaves if node.latency]
    kept, keepers = most_state(leaves)
    if not root.state_bytes or kept < root.state_bytes / 2:
        held = '' if root.state_bytes is None else f', {thousands(root.state_bytes)} bytes of state'
        return f'{trace.name}: {f"latency of {steps}" if late else "no latency"}{held}'
    share, count = f'{100 * kept / root.state_bytes:.0f} % of the state', times(keepers)
    where = f'{"one layer" if count == 1 else f"{count} layers"}: {names(keepers[0])[0]}'
    # What is left is of delays between layers.
    is_theirs = sum((node.latency or 0) * times([node]) for node in waiting) >= late
    if late and waiting == keepers and is_theirs:
        return f'All latency and {share} come from {where}'
    source = f' from {names(waiting[0])[0]}' if len(waiting) == 1 and is_theirs else ''
    return f'{f"Latency of {steps}{source}" if late else "No latency"}; {share} is in {where}'


def blockers(root: LayerSummary) -> list[LayerSummary]:
    """The layers that cannot step by themselves."""

    def is_blocked(node: LayerSummary) -> bool:
        return not node.layer.supports_step

    return [node for node in root.walk() if is_blocked(node) and not any(map(is_blocked, node.children))]


def times(nodes: list[LayerSummary]) -> int:
    """How many layers these are, with repetitions."""
    return sum(math.prod(node.repeats) for node in nodes)


def most_state(leaves: list[LayerSummary]) -> tuple[int, list[LayerSummary]]:
    """The layers of one name that together keep most, and the bytes that they keep."""
    alike: dict[tuple, list[LayerSummary]] = {}
    for node in leaves:
        alike.setdefault(names(node), []).append(node)
    amounts = [
        (sum((node.state_bytes or 0) * math.prod(node.repeats) for node in nodes), nodes) for nodes in alike.values()
    ]
    return max(amounts, key=lambda found: found[0])
