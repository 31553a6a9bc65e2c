"""Streams in a pool: each as if it were alone, whatever the others do."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl

SPEC = sl.ChannelSpec((3,))
BLOCK = sl.Residual([sl.RMSNormalization(), sl.DotProductSelfAttention(2, 2, 3, 1), sl.DenseShaped([3])])
LAYERS = [
    sl.Conv1D(3, 3, strides=2, padding='same'),
    sl.Repeat(BLOCK, 2),
    sl.LSTM(3),
    sl.DotProductSelfAttention(2, 2, -1, relative_position_embedding=sl.ALiBi(2)),
    sl.Flatten(),
    sl.Conv1D(2, 3, dilation_rate=4, padding='causal_valid'),
    sl.AddTimingSignal(only_advance_position_for_valid_timesteps=False),
]
MAX_LENGTH = 64


@pytest.fixture(scope='module')
def model():
    return sl.Serial(LAYERS).build(SPEC, rngs=0)


def random_streams(count, longest, seed=0):
    """Sequences of random lengths, padded to one, with gaps; and their lengths."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(0, longest + 1, count)
    values = draw.standard_normal((count, longest, 3)).astype(np.float32)
    mask = (np.arange(longest) < lengths[:, None]) & (draw.random((count, longest)) < 0.9)
    return sl.Sequence(values, mask), lengths


def serve(pool, x, lengths, draw):
    """All streams through the pool, in chunks of random length; what each gave, in order."""
    outputs = [[] for _ in lengths]
    waiting, live = list(range(len(lengths)))[::-1], {}
    while waiting or live:
        while waiting:
            try:
                live[waiting[-1]] = [pool.open(), 0]
            except sl.Full:
                break
            waiting.pop()
        for number, (stream, done) in list(live.items()):
            size = min(int(draw.integers(0, 9)), lengths[number] - done)
            if stream.is_closed:
                pass
            elif done == lengths[number]:
                stream.close()
            elif draw.random() < 0.7:  # else it pauses
                try:
                    stream.push(x[number : number + 1, done : done + size])
                    live[number][1] += size
                except sl.Full:
                    assert stream.waiting + size > pool.queue
            outputs[number].append(stream.read())
            if stream.is_done:
                del live[number]
        pool.run(max_steps=int(draw.integers(0, 4)))
    return [sl.Sequence.concatenate_sequences(parts) for parts in outputs]


def test_a_thousand_streams_through_sixteen_slots(model):
    x, lengths = random_streams(1000, 40)
    pool = sl.StreamPool(model, slots=16, queue=12, max_length=MAX_LENGTH)
    outputs = serve(pool, x, lengths, np.random.default_rng(1))
    whole = model.layer(x, training=False)
    assert pool.compilations == 1 and not pool.streams
    for number, (y, length) in enumerate(zip(outputs, lengths, strict=True)):
        expected = whole[number : number + 1, : y.shape[1]]
        assert y.shape[1] == -(-length // 2)
        assert not whole.mask[number, y.shape[1] :].any()
        assert not sl.testing.first_difference(expected, y), number


def test_a_stream_that_pauses_is_exact(model):
    """One stream goes on while the other rests, in blocks within and beyond the slack of the rings."""
    x, _ = random_streams(2, 40)
    whole = model.layer(x, training=False)
    for block in (2, 12):
        pool = sl.StreamPool(model, slots=2, block_size=block, queue=80, max_length=MAX_LENGTH)
        steady, paused = pool.open(), pool.open()
        for part in range(4):
            steady.push(x[:1, 10 * part : 10 * part + 10])
            if part % 2:
                paused.push(x[1:, 10 * (part - 1) : 10 * part + 10])
            pool.run()
        steady.close()
        paused.close()
        pool.run()
        for row, stream in enumerate((steady, paused)):
            assert not sl.testing.first_difference(whole[row : row + 1], stream.read())


def test_a_stream_that_pauses_behind_an_upsampling_is_exact():
    """The ring gets more timesteps than the block of the model has."""
    layers = [sl.Upsample1D(16), sl.DotProductSelfAttention(1, 4, max_past_horizon=20)]
    model = sl.Serial(layers).build(SPEC, rngs=0)
    x, _ = random_streams(2, 12)
    pool = sl.StreamPool(model, slots=2)
    streams = [pool.open(), pool.open()]
    for row, first, last in ((0, 0, 4), (1, 0, 4), (0, 4, 8), (0, 8, 12), (1, 4, 12)):
        streams[row].push(x[row : row + 1, first:last])
        pool.run()
    whole = model.layer(x, training=False)
    for row, stream in enumerate(streams):
        assert not sl.testing.first_difference(whole[row : row + 1], stream.read())


@pytest.mark.parametrize('run_first', [True, False])
def test_all_that_the_layer_gives(run_first):
    """Also what it gives beyond the last step, whenever the stream is closed."""
    model = sl.Conv1DTranspose(2, 4, strides=2, padding='valid').build(SPEC, rngs=0)
    x, _ = random_streams(1, 5)
    pool = sl.StreamPool(model, slots=1)
    stream = pool.open()
    stream.push(x)
    if run_first:
        pool.run()
    stream.close()
    pool.run()
    y, whole = stream.read(), model.layer(x, training=False)
    assert y.shape == whole.shape and not sl.testing.first_difference(whole, y)


class Counter(sl.SequenceLayer):
    """Adds the number of steps that ran, of all rows together."""

    def get_initial_state(self, batch_size, *, training, constants=None):
        return jnp.zeros((), jnp.int32)

    def layer(self, x, *, training, constants=None):
        return x

    def step(self, x, state, *, training, constants=None):
        return x.apply_values(lambda v: v + state), state + 1


def test_what_all_streams_share_is_never_reset():
    pool = sl.StreamPool(Counter().build(SPEC, rngs=0), slots=2)
    first = pool.open()
    first.push(np.zeros((2, 3), np.float32))
    pool.run()
    second = pool.open()
    for stream in (first, second):
        stream.push(np.zeros((1, 3), np.float32))
    pool.run()
    assert first.read().values[0, :, 0].tolist() == [0, 1, 2]


def test_a_slot_forgets_the_stream_before():
    """NaN of one stream does not reach the next one in the slot."""
    model = sl.Serial([sl.DotProductSelfAttention(2, 2, 6), sl.Flatten(), sl.LSTM(2)]).build(SPEC, rngs=0)
    pool = sl.StreamPool(model, slots=1)
    poisoned = pool.open()
    poisoned.push(np.full((5, 3), np.nan, np.float32))
    poisoned.close()
    pool.run()
    assert np.isnan(poisoned.read().values).all() and poisoned.is_done
    x, _ = random_streams(1, 9)
    stream = pool.open()
    stream.push(x)
    stream.close()
    pool.run()
    assert not sl.testing.first_difference(model.layer(x, training=False), stream.read())


def test_full(model):
    pool = sl.StreamPool(model, slots=2, queue=4, max_length=MAX_LENGTH)
    first, _ = pool.open(), pool.open()
    with pytest.raises(sl.Full, match='all 2 slots are taken'):
        pool.open()
    first.push(np.ones((3, 3), np.float32))
    with pytest.raises(sl.Full, match='3 timesteps wait and 2 more came; the queue holds 4'):
        first.push(np.ones((2, 3), np.float32))
    assert first.waiting == 3  # nothing of it was taken
    first.close()
    pool.run()
    assert first.is_done and pool.open().slot == 0


def test_errors(model):
    pool = sl.StreamPool(model, slots=1, max_length=20)
    stream = pool.open()
    with pytest.raises(sl.LayerError, match=r'shape \(batch=1, time, 3\)'):
        stream.push(np.ones((2, 2, 3), np.float32))
    with pytest.raises(sl.LayerError, match='would have 20 timesteps, 26 with the flush, and max_length is 20'):
        stream.push(np.ones((20, 3), np.float32))
    stream.close()
    for use in (stream.close, lambda: stream.push(np.ones((1, 3), np.float32))):
        with pytest.raises(sl.LayerError, match='closed'):
            use()
    with pytest.raises(sl.LayerError, match='slots must be at least 1'):
        sl.StreamPool(model, slots=0)
    with pytest.raises(sl.LayerError, match='queue must hold a block of 2'):
        sl.StreamPool(model, queue=1, max_length=20)
    source = {'source': sl.testing.random_sequence(sl.ChannelSpec((5,)), 4)[:1]}
    streaming = sl.StreamingDotProductAttention('source', 2, 2, 3).build(SPEC, rngs=0, constants=source)
    with pytest.raises(sl.LayerError, match='no constant may stream, got source'):
        sl.StreamPool(streaming, constants=source)


def test_constants_that_all_streams_share():
    source = {'source': sl.testing.random_sequence(sl.ChannelSpec((5,)), 4)[:1]}
    model = sl.DotProductAttention('source', 2, 2).build(SPEC, rngs=0, constants=source)
    x, _ = random_streams(3, 6)
    pool = sl.StreamPool(model, slots=2, constants=source)
    outputs = serve(pool, x, [6, 6, 6], np.random.default_rng(0))
    whole = model.layer(x, training=False, constants=source)
    for row, y in enumerate(outputs):
        assert not sl.testing.first_difference(whole[row : row + 1], y)


def test_what_it_says_of_itself(model):
    pool = sl.StreamPool(model, slots=4, max_length=MAX_LENGTH)
    pool.open()
    assert '1 of 4 slots taken, block of 2' in repr(pool)
