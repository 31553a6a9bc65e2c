"""Writes the page of all layers, `docs/layers.md`: `make docs`.

Layers, what they do and how they stand in time are read off their docstrings and off the sample declarations that the
tests run, so a new layer appears by itself.
"""

import inspect
import re
from pathlib import Path

import seqlayers as sl
from tests.registry import all_cases

PAGE = Path(__file__).with_suffix('.md')
BASES = (sl.SequenceLayer, sl.Stateless, sl.Composite)

# Families in reading order, by the name of the module or of its package. What fits none gets a family of its own.
FAMILIES = {
    'Combinators': 'combinators',
    'Linear maps and embeddings': 'dense|embedding|time_varying',
    'Convolution': '.*convolution',
    'Recurrence and state spaces': '.*recurrent|.*recurrence|rglru|.*state_space|linear_attention',
    'Attention': 'attention|style_token',
    'Position': '.*position|rotary',
    'Conditioning': '.*conditioning',
    'Normalization': '.*normalization',
    'Activations and arithmetic': 'activation|elementwise',
    'Dropout and noise': 'dropout|noise',
    'Delay and rate': 'delay|resample|stack_frames',
    'Pooling': 'pooling',
    'Spectra and filters': 'frame|fft|stft|spectrogram|mel|sinc_filter',
    'Channels': 'shape|reduction',
    'Time rearranged': 'whole',
    'Structure, taps and checks': 'structural|tap|assert_channel_spec',
}

POINTWISE = ['1', '1', '0', '(0, 0)']

INTRODUCTION = """<!-- Written by docs/layers.py: run `make docs` after changing a layer. -->
# Layers

Every layer of `seqlayers`, with what is known of it before it is built. Formulas are in terms of the layer's fields;
where a declaration stands below the name, the numbers are those of that declaration. A step takes a multiple of the
**block size** input timesteps and gives **output ratio** times as many. **Latency** is two numbers: the invalid input
timesteps that bring out the end, and the output timesteps before the first real one; one number stands for both. The
**receptive field** is the first and last input timestep that an output can depend on, relative to its own time.
`help(sl.Conv1D)` tells of parameters, masks, states and errors.
"""

HEADER = """| layer | block size | output ratio | latency | receptive field | streams |
|---|---|---|---|---|---|"""


def public_layers() -> list[type[sl.SequenceLayer]]:
    """The layers that users can declare, by name."""
    found = {v for v in vars(sl).values() if isinstance(v, type) and issubclass(v, sl.SequenceLayer)}
    return sorted(found.difference(BASES), key=lambda layer: layer.__name__.lower())


def samples(layer: type[sl.SequenceLayer]) -> list[sl.SequenceLayer]:
    """Declarations of a layer: from the tests, else from its docstring; short ones first, pointwise ones last."""
    found = {s for case in all_cases() for _, s in sl.layer.walk(case.layer) if type(s) is layer}
    if not found:
        calls = re.findall(rf'sl\.{layer.__name__}\(.*?\)(?=\.build)', inspect.getdoc(layer) or '')
        found = {eval(call, {'sl': sl}) for call in calls}
    return sorted(found, key=lambda s: (numbers(s) == POINTWISE, len(repr(s)), repr(s)))


def summary(layer: type[sl.SequenceLayer]) -> str:
    """The first sentence of the docstring, without where to read on."""
    paragraph = ' '.join((inspect.getdoc(layer) or '').partition('\n\n')[0].split())
    sentence = re.split(r'(?<=\.) (?=[A-Z(])', paragraph)[0]
    return re.sub(r'[;:] (shapes|time|see|all as)\b.*', '.', sentence)


def docstring_table(layer: type[sl.SequenceLayer]) -> list[dict[str, str]]:
    """The rows of the docstring's table of time, each a cell by column."""
    lines = [line for line in (inspect.getdoc(layer) or '').splitlines() if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]] if rows and 'receptive field' in lines[0] else []


def time_like(layer: type[sl.SequenceLayer]) -> str:
    """The layer with a table of time to which the docstring refers, if it does: `... those of X`."""
    doc = ' '.join((inspect.getdoc(layer) or '').split())
    found = re.search(r'(?:those of|[Aa]ll (?:else )?as) `(\w+)`', doc)
    other = getattr(sl, found[1], None) if found else None
    return other.__name__ if other and (docstring_table(other) or time_like(other)) else ''


def definitions(layer: type[sl.SequenceLayer]) -> str:
    """The sentence before the table that defines its abbreviations, if there is one: `With s = strides:`."""
    found = re.search(r'^(With [^|]*):\n\n\|', inspect.getdoc(layer) or '', re.MULTILINE)
    return f'{" ".join(found[1].split())}.' if found else ''


def formulas(row: dict[str, str]) -> list[str]:
    """Block size, output ratio, latency and receptive field, of a row of a docstring's table."""
    latency = [cell for column, cell in row.items() if re.match('latencies|input|output latency', column)]
    shown = latency[:1] if len(set(latency)) == 1 else latency
    return [row['block size'], row['output ratio'], ', '.join(shown), row.get('receptive field', latency[-1])]


def numbers(sample: sl.SequenceLayer) -> list[str]:
    """The same of a declaration."""
    latency = f'{sample.input_latency}, {sample.output_latency}'
    if sample.input_latency == sample.output_latency:
        latency = str(sample.output_latency)
    steps = [str(sample.block_size), latency] if sample.supports_step else ['-', '-']
    return [steps[0], str(sample.output_ratio), steps[1], str(sample.receptive_field)]


def streams(found: list[sl.SequenceLayer]) -> str:
    """Whether the layer streams, and if not, why. What a layer inside may block does not count."""
    blocked = [s for s in found if not s.supports_step and _blocks_by_itself(s)]
    if not blocked:
        return 'yes'
    reason = blocked[0].timing.blocked
    return f'no: {reason}' if len(blocked) == len(found) else f'yes, but not `{blocked[0]!r}`: {reason}'


def _blocks_by_itself(layer: sl.SequenceLayer) -> bool:
    return isinstance(layer, sl.Composite) or all(child.supports_step for _, child in layer.children())


def rows(layer: type[sl.SequenceLayer]) -> list[list[str]]:
    """The rows of the page for a layer."""
    found, table = samples(layer), docstring_table(layer)
    name = ' '.join(filter(None, [f'**`{layer.__name__}`**<br>{summary(layer)}', definitions(layer)]))
    if not table:
        alike = len({tuple(numbers(s)) for s in found}) == 1
        like = time_like(layer)
        example = f' In time as `{like}`.' * bool(like) + f'<br>`{found[0]!r}`' * bool(like or not alike)
        return [[name + example, *numbers(found[0]), streams(found)]]
    if len(table) == 1:
        return [[name, *formulas(table[0]), streams(found)]]
    field = next(iter(table[0]))  # the first column says for which value of a field a row holds
    return [[name, '', '', '', '', streams(found)], *([f'{field}: {row[field]}', *formulas(row), ''] for row in table)]


def family(layer: type[sl.SequenceLayer]) -> str:
    """The title of the table that a layer belongs to."""
    parts = layer.__module__.split('.')[1:]
    known = [title for title, modules in FAMILIES.items() if any(re.fullmatch(modules, part) for part in parts)]
    return known[0] if known else parts[-1].replace('_', ' ').capitalize()


def page() -> str:
    """The whole page, in Markdown."""
    families: dict[str, list[str]] = {title: [] for title in FAMILIES}
    for layer in public_layers():
        lines = [' | '.join(cell.replace('|', r'\|') for cell in row) for row in rows(layer)]
        families.setdefault(family(layer), []).extend(f'| {line} |' for line in lines)
    tables = ['\n'.join([f'## {title}\n', HEADER, *lines]) for title, lines in families.items() if lines]
    return '\n\n'.join([INTRODUCTION.strip(), *tables]) + '\n'


if __name__ == '__main__':
    PAGE.write_text(page())
