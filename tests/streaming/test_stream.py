"""A stream, in chunks of any length, gives what the whole sequence gives, and loses nothing."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers.combinators.unstack import unstack

SPEC = sl.ChannelSpec((3,))
ATTENTION = sl.DotProductSelfAttention(2, 2, 3, 1)
BLOCK = sl.Residual([sl.RMSNormalization(), ATTENTION, sl.DenseShaped([3])])
CHUNKS = [(25,), (1,) * 25, (0, 7, 1, 0, 12, 5), (3,) * 8 + (1,)]

MODELS = {
    'convolution': sl.Serial([sl.Conv1D(4, 3, strides=2, padding='same'), sl.Conv1D(2, 3, padding='valid')]),
    'transposed': sl.Serial([sl.Downsample1D(3), sl.Conv1DTranspose(2, 5, strides=2, padding='semicausal_full')]),
    'recurrent': sl.Serial([sl.LSTM(4), sl.Lookahead(2)]),
    'repeated attention': sl.Repeat(BLOCK, 3),
    'a delay in the layer too': sl.Serial([sl.Delay(2), sl.Upsample1D(2)]),
}


def pieces(x, sizes):
    starts = np.cumsum([0, *sizes])
    return [x[:, a:b] for a, b in itertools.pairwise(starts)]


def all_of(stream, x, sizes):
    outputs = [stream.push(piece) for piece in pieces(x, sizes)]
    return sl.Sequence.concatenate_sequences([*outputs, stream.close()])


def assert_equal(whole, streamed):
    assert streamed.shape == whole.shape
    assert not sl.testing.first_difference(whole, streamed)


@pytest.fixture(scope='module', params=MODELS, ids=str)
def streamed(request):
    model = MODELS[request.param].build(SPEC, rngs=0)
    x = sl.testing.random_sequence(SPEC, 25)
    return sl.Stream(model, batch_size=6), x, model.layer(x, training=False)


@pytest.mark.parametrize('sizes', CHUNKS, ids=len)
def test_chunks_of_any_length(streamed, sizes):
    stream, x, whole = streamed
    stream.reset()
    assert_equal(whole, all_of(stream, x, sizes))
    assert stream.compilations == 1


def test_larger_blocks():
    model = MODELS['convolution'].build(SPEC, rngs=0)
    x = sl.testing.random_sequence(SPEC, 25)
    stream = sl.Stream(model, batch_size=6, block_size=8)
    assert_equal(model.layer(x, training=False), all_of(stream, x, (5, 20)))
    assert stream.compilations == 1


def test_no_timestep_at_all():
    model = MODELS['convolution'].build(SPEC, rngs=0)
    stream = sl.Stream(model)
    assert_equal(model.layer(sl.testing.random_sequence(SPEC, 0)[:1], training=False), stream.close())


def test_outputs_come_as_soon_as_they_are_known():
    """After n inputs, a whole number of blocks, all but the latency is out."""
    model = MODELS['convolution'].build(SPEC, rngs=0)
    stream, out = sl.Stream(model), 0
    for n in range(1, 12):
        out += stream.push(np.ones((1, 1, 3), np.float32)).shape[1]
        assert out == max(0, n // 2 - model.output_latency)


def test_a_repeat_is_unstacked():
    model = MODELS['repeated attention'].build(SPEC, rngs=0)
    flat = unstack(sl.Serial([model]).build(SPEC, rngs=0))
    x = sl.testing.random_sequence(SPEC, 9)
    assert not any(isinstance(layer, sl.Repeat) for _, layer in sl.layer.walk(flat))
    assert not sl.testing.first_difference(model.layer(x, training=False), flat.layer(x, training=False))
    assert flat.output_latency == model.output_latency == 3


@pytest.mark.parametrize(
    'model',
    [
        sl.models.transformer(vocabulary=7, width=4, num_heads=2, past=3),
        sl.models.mamba(width=4),
        sl.Skip([sl.Repeat(sl.Dense(3), 2)]),
    ],
)
def test_no_repeat_is_left(model):
    spec = sl.ChannelSpec((), 'int32') if isinstance(model, sl.Shared) else SPEC
    model = model.build(spec, rngs=0)
    flat, x = unstack(model), sl.testing.random_sequence(spec, 7, high=7)
    assert not any(isinstance(layer, sl.Repeat) for _, layer in sl.layer.walk(flat))
    assert not sl.testing.first_difference(model.layer(x, training=False), flat.layer(x, training=False))


class Gained(sl.Serial):
    """A combinator with a parameter of its own."""

    def setup(self, input_spec, rngs, constants):
        super().setup(input_spec, rngs, constants)
        self.gain = nnx.Param(jax.random.normal(rngs.params(), (1,)))

    def step_with_emits(self, x, state, *, training, constants=None):
        y, state, emits = super().step_with_emits(x, state, training=training, constants=constants)
        return y.apply_values(lambda v: v * self.gain[...]), state, emits


def test_a_repeat_of_blocks_that_the_input_does_not_fill():
    block = sl.Serial([sl.Conv1D(3, 2, strides=2, padding='valid'), sl.Upsample1D(2)])
    model = sl.Repeat(block, 2).build(SPEC, rngs=0)
    x = sl.testing.random_sequence(SPEC, 5)[:1]
    whole = model.layer(x, training=False)
    assert whole.shape[1] == 6  # `Repeat` fills up to whole blocks
    assert_equal(whole, all_of(sl.Stream(model), x, (2, 3)))


def test_what_unstacking_keeps():
    model = Gained([sl.Repeat(sl.Dense(3), 2)]).build(SPEC, rngs=7)
    flat = unstack(model)
    assert flat.gain[...] == model.gain[...]
    x = sl.testing.random_sequence(SPEC, 4)
    steps = [m.step(x, m.get_initial_state(6, training=False), training=False)[0] for m in (model, flat)]
    assert not sl.testing.first_difference(*steps)


def test_draws_outside_of_training_are_those_of_the_layer():
    model = sl.Repeat(sl.Dropout(0.5, always=True), 2).build(SPEC, rngs=0)
    x, key = sl.testing.random_sequence(SPEC, 25), jax.random.key(3)
    stream = sl.Stream(model, batch_size=6, rng=key)
    assert_equal(model.layer(x, training=False, rng=key), all_of(stream, x, (3, 22)))


def test_a_step_that_fails_ends_the_stream():
    def fails_at_seven(values):
        if (np.asarray(values) == 7).any():
            raise ValueError('seven')
        return np.asarray(values)

    class Picky(sl.Stateless):
        def layer(self, x, *, training, constants=None):
            return x.apply_values(
                lambda v: jax.pure_callback(fails_at_seven, jax.ShapeDtypeStruct(v.shape, v.dtype), v)
            )

    stream = sl.Stream(Picky().build(SPEC, rngs=0))
    stream.push(np.zeros((2, 3), np.float32))
    with pytest.raises(Exception, match='seven'):
        stream.push(np.full((2, 3), 7, np.float32))
    with pytest.raises(sl.LayerError, match='reset'):
        stream.push(np.zeros((2, 3), np.float32))
    stream.reset()
    assert stream.push(np.zeros((2, 3), np.float32)).shape == (1, 2, 3)


def test_in_training_draws_are_those_of_the_layer():
    model = sl.Repeat(sl.Serial([sl.Dropout(0.5), sl.Lookahead(1)]), 2).build(SPEC, rngs=0)
    x, key = sl.testing.random_sequence(SPEC, 25), jax.random.key(3)
    stream = sl.Stream(model, batch_size=6, training=True, rng=key)
    assert_equal(model.layer(x, training=True, rng=key), all_of(stream, x, (3, 10, 12)))


def test_constants_that_stream():
    layers = [sl.Lookahead(1), sl.StreamingDotProductAttention('source', 2, 2, 3, 2)]
    x = sl.testing.random_sequence(SPEC, 25)
    source = sl.testing.random_sequence(sl.ChannelSpec((5,)), 25, seed=4)
    model = sl.Serial(layers).build(SPEC, rngs=0, constants={'source': source})
    stream = sl.Stream(model, batch_size=6, constants={'source': source[:, :0]})
    sizes = (2, 0, 11, 12)
    outputs = [
        stream.push(a, constants={'source': b}) for a, b in zip(pieces(x, sizes), pieces(source, sizes), strict=True)
    ]
    streamed = sl.Sequence.concatenate_sequences([*outputs, stream.close()])
    assert_equal(model.layer(x, training=False, constants={'source': source}), streamed)
    stream.reset()
    with pytest.raises(sl.LayerError, match='constants that stream are source, got none'):
        stream.push(x)
    with pytest.raises(
        sl.LayerError,
        match=r'must be a Sequence \[6, 25, 5\], for the 25 timesteps of the chunk; got .*Sequence \[6, 3, 5\]',
    ):
        stream.push(x, constants={'source': source[:, :3]})


def test_an_endless_past_ends_with_an_error_before_anything_is_lost():
    model = sl.DotProductSelfAttention(2, 2, -1, 1).build(SPEC, rngs=0)
    x = sl.testing.random_sequence(SPEC, 9)
    stream = sl.Stream(model, batch_size=6, max_length=10)
    first = stream.push(x[:, :8])
    with pytest.raises(sl.LayerError, match='would have 10 timesteps, 11 with the flush, and max_length is 10'):
        stream.push(x[:, :2])
    rest = [stream.push(x[:, 8:]), stream.close()]
    assert_equal(model.layer(x, training=False), sl.Sequence.concatenate_sequences([first, *rest]))


def test_errors_leave_the_stream_as_it_was():
    model = MODELS['recurrent'].build(SPEC, rngs=0)
    x = np.ones((9, 3), np.float32)
    stream = sl.Stream(model)
    parts = [stream.push(x[:4])]
    for wrong, message in (
        (np.ones((1, 2, 4)), r'shape \(batch=1, time, 3\), got float64\[1, 2, 4\]'),
        (np.ones((2, 2, 3)), r'got float64\[2, 2, 3\]'),
        (np.ones((1, 2, 3), complex), 'must hold float32, got complex128'),
    ):
        with pytest.raises(sl.LayerError, match=message):
            stream.push(wrong)
    parts += [stream.push(x[4:]), stream.close()]
    assert_equal(
        model.layer(sl.Sequence.from_values(x[None]), training=False), sl.Sequence.concatenate_sequences(parts)
    )
    for use in (stream.close, lambda: stream.push(x)):
        with pytest.raises(sl.LayerError, match='reset\\(\\) begins a new one'):
            use()


def test_wrong_use():
    with pytest.raises(sl.LayerError, match='Dense is a declaration: build it'):
        sl.Stream(sl.Dense(3))
    model = sl.Downsample1D(2).build(SPEC, rngs=0)
    with pytest.raises(sl.LayerError, match='multiple of that of Downsample1D, 2; got 3'):
        sl.Stream(model, block_size=3)
    whole = sl.Bidirectional(sl.LSTM(2), sl.LSTM(2)).build(SPEC, rngs=0)
    with pytest.raises(sl.LayerError, match='cannot run in steps'):
        sl.Stream(whole)


def test_as_a_context_it_closes_itself():
    model = MODELS['recurrent'].build(SPEC, rngs=0)
    x = sl.testing.random_sequence(SPEC, 9)[:1]
    with sl.Stream(model) as stream:
        first = stream.push(x)
    assert stream.is_closed
    assert_equal(model.layer(x, training=False), sl.Sequence.concatenate_sequences([first, stream.last]))
    with pytest.raises(KeyError), sl.Stream(model) as stream:
        raise KeyError
    assert not stream.is_closed


def test_what_it_says_of_itself():
    model = MODELS['convolution'].build(SPEC, rngs=0)
    stream = sl.Stream(model, rate=100.0)
    assert 'block of 2, 0 of 2 timesteps wait' in repr(stream) and 'no step measured' in repr(stream)
    stream.push(np.ones((1, 9, 3), np.float32))
    assert '1 of 2 timesteps wait' in repr(stream) and '3 steps of' in repr(stream) and 'of real time' in repr(stream)
