"""Random models: legal by construction, small, and of every kind of layer that the library has."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.layer import SequenceLayer, walk
from seqlayers.sequence import ChannelSpec, Sequence
from seqlayers.testing.random_leaves import SEQUENCE, STREAM, STREAMED, VECTOR, Draw, norm, random_leaf, to_width
from seqlayers.testing.sequences import random_values

# What a model may cost at most.
MAX_LEAVES, MAX_BLOCK, MAX_LATENCY, MAX_RATIO = 8, 24, 40, 4
DEPTH = 3


def random_architecture(seed: int, input_spec: ChannelSpec) -> SequenceLayer:
    """A random declaration of a model, that takes floating inputs of `input_spec` and gives `(channels,)`.

    It has at most 8 leaves, blocks of at most 24 timesteps and a latency of at most 40. One in twenty cannot step.
    Those that read constants take them from `random_constants`. Equal seeds give equal declarations.

    >>> import seqlayers as sl
    >>> model = sl.testing.random_architecture(0, sl.ChannelSpec((4,)))
    >>> model == sl.testing.random_architecture(0, sl.ChannelSpec((4,)))
    True
    """
    draw = Draw(np.random.default_rng(seed), input_spec.shape[0] if len(input_spec.shape) == 1 else 4)
    entrance = [] if len(input_spec.shape) == 1 else [sl.DenseShaped([draw.channels])]
    draw.may_block = draw.chance(0.05)
    while True:
        model = sl.Serial([*entrance, *_model(draw)])
        if _is_affordable(model) and model.supports_step != draw.may_block:
            return model


def random_constants(declaration: SequenceLayer, batch: int, time: int, seed: int = 0) -> dict[str, Any]:
    """The constants that a random architecture reads, for inputs of `time` timesteps."""
    spec, draw = ChannelSpec((3,)), np.random.default_rng(seed)

    def sequence(time: int) -> Sequence:
        return Sequence(random_values(spec, (batch, time), seed + time), jnp.asarray(draw.random((batch, time)) < 0.8))

    known = {VECTOR: random_values(spec, (batch,), seed), SEQUENCE: sequence(7), STREAM: sequence(time)}
    values = (value for _, layer in walk(declaration) for value in layer.field_values().values())
    names = {value for value in values if isinstance(value, str)}
    return {name: value for name, value in known.items() if name in names}


# --- combinators ------------------------------------------------------------------------------------------------
def _chain(d: Draw, depth: int) -> list[SequenceLayer]:
    most = 4 if depth == DEPTH else 2
    return [_node(d, depth) for _ in range(int(d.rng.integers(1, most + 1)))]


def _ratio(layers: list[SequenceLayer]) -> Fraction:
    return math.prod((layer.output_ratio for layer in layers), start=Fraction(1))


def _resampled(ratio: Fraction) -> list[SequenceLayer]:
    """Layers that change the rate by `ratio`."""
    return [layer for layer in (sl.Upsample1D(ratio.numerator), sl.Downsample1D(ratio.denominator)) if layer.rate > 1]


def _at_rate(d: Draw, depth: int, ratio: Fraction = Fraction(1)) -> list[SequenceLayer]:
    """A chain of this output ratio that does not grow longer."""
    layers = _chain(d.within(), depth)
    return layers + _resampled(ratio / _ratio(layers))


def _single(layers: list[SequenceLayer]) -> SequenceLayer:
    return layers[0] if len(layers) == 1 else sl.Serial(layers)


def _parallel(d: Draw, depth: int) -> SequenceLayer:
    body = _chain(d, depth)
    others = [_at_rate(d, depth - 1, _ratio(body)) for _ in range(d.of(1, 1, 2))]
    mode = d.of('add', 'mean', 'product', 'stack', 'concat')
    parallel = sl.Parallel([_single(layers) for layers in [body, *others]], mode)
    if mode == 'product':
        return sl.Serial([parallel, norm()])
    return parallel if mode in ('add', 'mean') else to_width(d, parallel)


def _residual(d: Draw, depth: int) -> SequenceLayer:
    body = _chain(d, depth)
    shortcut = _at_rate(d, depth - 1, _ratio(body)) if d.chance(0.3) else _resampled(_ratio(body))
    return sl.Residual(body, shortcut)


def _repeat(d: Draw, depth: int) -> SequenceLayer:
    return sl.Repeat(_single(_at_rate(d, depth)), d.of(2, 3), unroll_step=d.chance(0.2))


def _blockwise(d: Draw, depth: int) -> SequenceLayer:
    body = _single(_chain(d, depth))
    return sl.Blockwise(body, d.of(2, 3) * body.block_size)


def _parallel_channels(d: Draw, depth: int) -> SequenceLayer:
    groups = d.divisor()
    return sl.ParallelChannels(_single(_at_rate(d.within(d.channels // groups), depth)), groups, 'concat')


def _shared(d: Draw, depth: int) -> SequenceLayer:
    refs = [sl.Ref('tied')] * 2
    return sl.Shared({'tied': _node(d, depth)}, sl.Serial([refs[0], _node(d, 0), refs[1]]))


def _bidirectional(d: Draw, depth: int) -> SequenceLayer:
    if not d.may_block:
        return random_leaf(d)
    forward = _chain(d, depth)
    backward = _at_rate(d, depth, _ratio(forward))
    return sl.Bidirectional(_single(forward), _single(backward), d.of('add', 'mean'))


COMBINATORS: list[Callable[[Draw, int], SequenceLayer]] = [
    lambda d, depth: sl.Serial(_chain(d, depth)),
    lambda d, depth: sl.CheckpointGradient(_single(_chain(d, depth))),
    lambda d, depth: to_width(d, sl.Skip(_at_rate(d, depth))),
    _parallel,
    _parallel,
    _parallel,
    _residual,
    _residual,
    _repeat,
    _repeat,
    _blockwise,
    _parallel_channels,
    _shared,
    _bidirectional,
]


def _node(d: Draw, depth: int) -> SequenceLayer:
    return d.of(*COMBINATORS)(d, depth - 1) if depth > 0 and d.chance(0.5) else random_leaf(d)


def _model(d: Draw) -> list[SequenceLayer]:
    layers = _chain(d, DEPTH)
    return [*_at_rate(d, 1), d.of(*STREAMED)(d), *layers] if d.chance(0.1) else layers


def _is_affordable(model: SequenceLayer) -> bool:
    layers = [layer for _, layer in walk(model)]
    if sum(not layer.children() for layer in layers) > MAX_LEAVES or any(x.output_ratio > MAX_RATIO for x in layers):
        return False
    return model.block_size <= MAX_BLOCK and model.output_latency <= MAX_LATENCY and model.input_latency <= MAX_LATENCY
