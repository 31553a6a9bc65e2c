"""Receptive fields of random chains of the library's layers, against the support of their gradients.

Every weight is positive, so that no two paths from an input to an output cancel: the gradient is zero where an output
does not read an input, and nowhere else.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.intervals import IntervalSet
from seqlayers.layer import walk
from seqlayers.padding import PADDING_MODES, TRANSPOSED_PADDING_MODES
from seqlayers.timing import SerialTiming

CHAINS = 200
conv = functools.partial(sl.Conv1D, 1, use_bias=False, kernel_init=nnx.initializers.ones)
transposed = functools.partial(sl.Conv1DTranspose, 1, use_bias=False, kernel_init=nnx.initializers.ones)


# Random layers. `draw` is a NumPy random generator; sizes are small, so that fields stay narrow.


def integer(draw, low, high):
    return int(draw.integers(low, high + 1))


def window(draw, layer, stride):
    """A convolution or a pooling with any padding."""
    size, dilation = integer(draw, 1, 4), integer(draw, 1, 2)
    total = (size - 1) * dilation
    left = integer(draw, 0, total)
    padding = [*PADDING_MODES, (left, total - left)][integer(draw, 0, len(PADDING_MODES))]
    return layer(size, strides=stride, dilation_rate=dilation, padding=padding)


def lower(draw, rate):
    """A layer of output ratio 1 / rate."""
    kind = integer(draw, 0, 2)
    return sl.Downsample1D(rate) if kind == 0 else window(draw, (conv, sl.AveragePooling1D)[kind - 1], rate)


def higher(draw, rate):
    """A layer of output ratio `rate`.

    Dilation can leave outputs to which no input adds. With 'semicausal_full' these are invalid, so that a sum with
    another branch is invalid too and the next layer does not read it, which timing does not know: not drawn here.
    """
    if draw.random() < 0.3:
        return sl.Upsample1D(rate)
    padding = TRANSPOSED_PADDING_MODES[integer(draw, 0, 3)]
    dilation = 1 if padding == 'semicausal_full' else integer(draw, 1, 2)
    return transposed(integer(draw, 1, 5), strides=rate, dilation_rate=dilation, padding=padding)


def level(draw):
    """Layers that together have the output ratio 1."""
    kind, rate, length = integer(draw, 0, 5), integer(draw, 2, 3), integer(draw, 1, 3)
    shifts = sl.Delay(length), sl.Lookahead(length), sl.Delay(length, delay_layer_output=False)
    if kind < 3:
        return [shifts[kind]]
    if kind == 3:
        return [lower(draw, 1)]
    pair = [lower(draw, rate), higher(draw, rate)]
    return pair if kind == 4 else pair[::-1]


def branched(draw):
    """A combinator of output ratio 1."""
    kind = integer(draw, 0, 3)
    if kind == 0:
        return sl.Parallel([sl.Serial(level(draw)), sl.Serial(level(draw))], combination='add')
    if kind == 1:
        return sl.Repeat(sl.Residual(level(draw)), integer(draw, 2, 3))
    return sl.Residual(level(draw), shortcut_layers=level(draw) if kind == 2 else ())


def random_chain(seed):
    draw = np.random.default_rng(seed)
    layers = []
    for _ in range(integer(draw, 2, 5)):
        kind, rate = integer(draw, 0, 5), integer(draw, 2, 3)
        choices = [lower(draw, rate)], [higher(draw, rate)], level(draw), [branched(draw)]
        layers += choices[min(kind // 2, 2) if kind < 5 else 3]
    return sl.Serial(layers)


# Measuring.


def reach(layer):
    """Input timesteps beyond which nothing inside a layer reaches to either side, whatever cancels along the way."""
    if isinstance(layer, sl.Serial):
        total, ratio = 0, 1
        for child in layer.layers:
            total, ratio = total + reach(child) / ratio, ratio * child.output_ratio
        return total
    if isinstance(layer, sl.Residual):
        return max(reach(sl.Serial(side)) for side in (layer.layers, layer.shortcut_layers or ()))
    if isinstance(layer, sl.Parallel):
        return max(map(reach, layer.layers))
    if isinstance(layer, sl.Repeat):
        return layer.num_repeats * reach(layer.child_layer)
    return 1 + max(map(abs, layer.receptive_field)) + layer.block_size


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def gradients(model, time, start, count):
    """`(count, time)`: of the outputs from `start` on, by the inputs."""

    def outputs(values):
        y = model.layer(sl.Sequence.from_values(values[None, :, None]), training=False)
        return y.values[0, start : start + count, 0]

    return jax.jacrev(outputs)(jnp.ones(time))


def measured(layer):
    """What two periods of outputs in the middle of a sequence read: pairs of the output and an IntervalSet."""
    margin, count = math.ceil(reach(layer)), 2 * layer.timing.period
    time = 2 * margin + math.ceil(count / layer.output_ratio)
    start = math.ceil(margin * layer.output_ratio)
    model = layer.build(sl.ChannelSpec((1,)), rngs=0)
    for i, gradient in enumerate(np.asarray(gradients(model, time, start, count))):
        yield start + i, IntervalSet.points(np.flatnonzero(gradient).tolist())


def check(layer):
    """Raises unless the field of each output is exactly the support of its gradient, in the public table too."""
    table = layer.receptive_field_per_step
    for output, support in measured(layer):
        read = support.shift(-math.floor(output / layer.output_ratio))
        declared = table[output % len(table)]
        assert read.hull == declared, f'output {output} of {layer} reads {read.hull} and declares {declared}'
        assert support == layer.timing.deps(output), f'output {output} of {layer} reads {support}, with its gaps'


@pytest.mark.parametrize('seeds', [range(i, i + 20) for i in range(0, CHAINS, 20)], ids=str)
def test_fields_of_random_chains_are_the_support_of_their_gradients(seeds):
    for seed in seeds:
        check(random_chain(seed))


def test_the_chains_are_mixed():
    """What the test above would not see if it were missing."""
    chains = [random_chain(seed) for seed in range(CHAINS)]
    kinds = [{type(layer) for _, layer in walk(chain)} for chain in chains]
    lowering = [any(layer.output_ratio < 1 for _, layer in walk(chain)) for chain in chains]
    raising = [any(layer.output_ratio > 1 for _, layer in walk(chain)) for chain in chains]
    wanted = {
        sl.Conv1D,
        sl.Conv1DTranspose,
        sl.AveragePooling1D,
        sl.Upsample1D,
        sl.Downsample1D,
        sl.Delay,
        sl.Lookahead,
    }
    assert set.union(*kinds) >= wanted | {sl.Residual, sl.Parallel, sl.Repeat}
    assert sum(np.logical_and(lowering, raising)) > CHAINS / 2
    assert sum(len(chain.receptive_field_per_step) > 2 for chain in chains) > CHAINS / 4
    assert sum(None in chain.receptive_field_per_step.values() for chain in chains) > 5


@pytest.mark.parametrize('seed', range(12))
def test_fields_with_frames_are_upper_bounds(seed):
    """Which samples of a frame go where is beyond timing: it knows timesteps, not channels."""
    draw = np.random.default_rng(seed)
    length, step = integer(draw, 2, 5), integer(draw, 1, 2)
    frame = sl.Frame(length, step, padding=PADDING_MODES[integer(draw, 0, len(PADDING_MODES) - 1)])
    overlap = sl.OverlapAdd(length, step, padding=('valid', 'causal', 'semicausal_full')[integer(draw, 0, 2)])
    layer = sl.Serial([*level(draw), frame, overlap, lower(draw, 2)])
    for output, support in measured(layer):
        union = IntervalSet.union([support, layer.timing.deps(output)])
        assert union == layer.timing.deps(output), f'output {output} of {layer} reads {support}'


@pytest.mark.parametrize(
    ('attribute', 'wrong'),
    [
        # As published: two transposed convolutions of stride 2 repeat after 4 outputs, not after 2.
        ('period', property(lambda self: math.lcm(*(child.period for child in self.children)))),
        ('reads', lambda self, outputs: self.children[-1].reads(self.children[0].reads(outputs))),
    ],
)
def test_a_wrong_composition_is_found(monkeypatch, attribute, wrong):
    layer = sl.Serial([transposed(3, strides=2, padding='causal'), transposed(2, strides=2, padding='causal')])
    check(layer)
    monkeypatch.setattr(SerialTiming, attribute, wrong)
    with pytest.raises(AssertionError, match='reads'):
        check(layer.replace())
