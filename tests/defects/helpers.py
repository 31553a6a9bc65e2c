"""What the tests of defects share: sequences written by hand, steps, and what an output reads."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import seqlayers as sl
from seqlayers.testing.runs import on_host

# Convolutions whose outputs are sums of the inputs, to be computed in the head.
conv = functools.partial(sl.Conv1D, 1, use_bias=False, kernel_init=nnx.initializers.ones)
transposed = functools.partial(sl.Conv1DTranspose, 1, use_bias=False, kernel_init=nnx.initializers.ones)


def line(values, mask=None):
    """One item with one channel; the mask as in '1101', by default all valid. Invalid timesteps hold garbage."""
    values = np.asarray(values, np.float32)
    valid = np.ones(len(values), bool) if mask is None else bits(mask)
    return sl.Sequence(np.where(valid, values, np.float32(99))[None, :, None], valid[None])


def bits(text):
    return np.array([letter == '1' for letter in text], bool)


def shown(mask):
    """The mask of the first item, as in '1101'."""
    return ''.join('1' if valid else '0' for valid in np.asarray(mask[0]))


def build(layer, x, **kwargs):
    return layer.build(x.channel_spec, rngs=0, **kwargs)


def whole(model, x, **kwargs):
    """`layer`, its output in NumPy arrays."""
    call = {'training': False, **kwargs}
    return on_host(jax.jit(lambda x: model.layer(x, **call))(x))


def run(layer, x):
    return whole(build(layer, x), x)


def steps(model, x, blocks=1, **kwargs):
    """All outputs of steps over `x` and the flush, nothing dropped, in NumPy arrays."""
    call = {'training': False, **kwargs}
    size = blocks * model.block_size
    x = on_host(x.unmask()).pad_time(0, model.input_latency).pad_to_multiple(size)
    state = model.get_initial_state(x.shape[0], **call)
    step = jax.jit(lambda x, state: model.step(x, state, **call))
    outputs = []
    for start in range(0, x.shape[1], size):
        y, state = step(x[:, start : start + size], state)
        outputs.append(on_host(y.unmask()))
    return sl.Sequence.concatenate_sequences(outputs)


def assert_gives(layer, x, values, mask=None, atol=1e-5):
    """`layer`, and steps behind their latency, give these values where the mask (as in '1101') says, and no others.

    The outputs of steps before the first real one are invalid.
    """
    mask = '1' * len(values) if mask is None else mask
    model = build(layer, x)
    stream, latency = steps(model, x), model.output_latency
    assert '1' not in shown(stream.mask[:, :latency]), 'the start of a stream is garbage and says it is valid'
    for y in (whole(model, x), stream[:, latency:]):
        assert shown(y.mask).rstrip('0') == mask.rstrip('0')
        valid = np.flatnonzero(bits(mask))
        np.testing.assert_allclose(y.values[0, valid].ravel(), [values[t] for t in valid], atol=atol)


def reads(layer, time, channels=(1,), dtype='float32'):
    """For each output timestep the input timesteps on which it depends by gradient, from `layer` on random values."""
    model = layer.build(sl.ChannelSpec(channels, dtype), rngs=0)
    values = np.random.default_rng(0).standard_normal((1, time, *channels)).astype(np.float32)

    def outputs(values):
        y = model.layer(sl.Sequence.from_values(values.astype(dtype)), training=False).values[0]
        return jnp.stack([y.real, y.imag], -1) if jnp.iscomplexobj(y) else y

    jacobian = np.asarray(jax.jit(jax.jacrev(outputs))(values))
    by_time = jacobian.reshape(len(jacobian), -1, time, math.prod(channels))
    return [np.flatnonzero(gradient.any(axis=(0, 2))).tolist() for gradient in by_time]
