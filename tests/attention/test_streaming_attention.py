"""Attention to a source that streams: against loops, whole and in steps, behind layers that look ahead; its emits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from tests.attention.naive import assert_valid_close, attend, projected, random_sequence

TIME, SPEC, PAST, FUTURE = 10, sl.ChannelSpec((5,)), 3, 2
Streaming, Local = sl.StreamingDotProductAttention, sl.StreamingLocalDotProductAttention


def random_source(time, channels=6, batch=2):
    return random_sequence(time, channels, batch, seed=5, share=0.7)


def build(layer, source=None):
    return layer.build(SPEC, rngs=0, constants={'video': random_source(TIME) if source is None else source})


def by_loops(model, x, source, past=PAST, future=FUTURE):
    """The weights and the context."""
    sees = lambda row, i, j: source.mask[row, j] and -past <= j - i <= future  # noqa: E731
    return attend(*projected(model, x, source), sees)


@pytest.mark.parametrize('source_time', [1, TIME - 3, TIME, TIME + 5, 130])
def test_a_source_of_any_length(source_time):
    x, source = random_sequence(TIME), random_source(source_time)
    model = build(Streaming('video', 4, 3, PAST, FUTURE, num_kv_heads=2), source)
    y, emits = jax.jit(lambda x, s: model.layer_with_emits(x, training=False, constants={'video': s}))(x, source)
    weights, context = by_loops(model, x, source)
    assert np.array_equal(y.mask, x.mask)
    assert_valid_close(y, context)
    assert_valid_close(emits.probabilities_by_source['video'], weights)


@pytest.mark.parametrize(('query_block', 'source_time'), [(1, TIME), (4, TIME + 9), (4, 2), (30, TIME)])
def test_in_windows(query_block, source_time):
    x, source = random_sequence(TIME), random_source(source_time)
    model = build(
        Local('video', 2, 3, block_size=query_block, max_past_horizon=PAST, max_future_horizon=FUTURE), source
    )
    assert (model.query_block, model.block_size) == (query_block, 1)
    y, emits = jax.jit(lambda x: model.layer_with_emits(x, training=False, constants={'video': source}))(x)
    _, context = by_loops(model, x, source)
    assert_valid_close(y, context)
    assert emits.probabilities_by_source['video'].shape == (2, TIME, 2, PAST + query_block + FUTURE)


# --- in steps, behind others ------------------------------------------------------------------------
def stream(model, x, source, m):
    """All outputs and emits of steps of `m` timesteps; the source arrives in time with the input, behind nothing."""
    flushed = x.unmask().pad_time(0, model.input_latency).pad_to_multiple(m)
    arriving = source.pad_time(0, flushed.shape[1] - source.shape[1])
    state = model.get_initial_state(2, training=False, constants={'video': source})
    step = jax.jit(lambda x, s, c: model.step_with_emits(x, s, training=False, constants={'video': c}))
    outputs, emits = [], []
    for t in range(0, flushed.shape[1], m):
        y, state, emitted = step(flushed[:, t : t + m], state, arriving[:, t : t + m])
        outputs.append(y)
        emits.append(emitted)
    return sl.Sequence.concatenate_sequences(outputs), emits


@pytest.mark.parametrize('m', [1, 3, 12])
@pytest.mark.parametrize('ahead', [0, 1, 4], ids=lambda ahead: f'behind {ahead}')
def test_steps_and_the_columns_of_their_emits(ahead, m):
    """The columns end with the block and begin with what its queries may look back to, however late they are."""
    x, source, late = random_sequence(TIME), random_source(TIME), max(ahead, FUTURE)
    attention = Streaming('video', 2, 3, PAST, FUTURE, num_sink_embeddings=2)
    model = build(sl.Serial([sl.Lookahead(ahead), attention]), source)
    assert model.output_latency == late
    run = jax.jit(lambda x: model.layer_with_emits(x, training=False, constants={'video': source}))
    y, emits = run(x)
    whole = np.asarray(emits['layers_1'].probabilities_by_source['video'].values)
    stepped, emits = stream(model, x, source, m)
    assert not sl.testing.first_difference(y, stepped[:, late:])
    for n, emitted in enumerate(emits):
        weights = emitted['layers_1'].probabilities_by_source['video']
        assert weights.shape == (2, m, 2, 2 + PAST + late + m)
        for i in range(m):
            query, first = n * m + i - late, n * m - PAST - late
            if not 0 <= query < y.shape[1]:
                continue
            wanted = np.zeros(weights.shape[2:])[None].repeat(2, 0)
            wanted[..., :2] = whole[:, query, :, :2]
            for column in range(PAST + late + m):
                if 0 <= first + column < TIME:
                    wanted[..., 2 + column] = whole[:, query, :, 2 + first + column]
            valid = np.asarray(weights.mask[:, i])
            np.testing.assert_allclose(np.asarray(weights.values[:, i])[valid], wanted[valid], atol=1e-6)


def test_latency_is_what_is_missing():
    layer = Streaming('video', 2, 3, PAST, FUTURE)
    assert (layer.input_latency, layer.output_latency, layer.receptive_field) == (2, 2, (0, 0))
    for ahead, latency in ((1, 2), (2, 2), (5, 5)):
        model = sl.Serial([sl.Lookahead(ahead), layer])
        assert (model.input_latency, model.output_latency) == (latency - ahead, latency)
        state = build(model).get_initial_state(2, training=False)
        queries = state[-1].queries
        assert (queries.shape[1] if queries else 0) == latency - ahead
        assert state[-1].cache.window == PAST + latency
    assert Streaming('video', 2, 3, PAST, query_network=sl.Delay(4)).receptive_field == (-4, -4)


def test_queries_that_do_not_wait():
    """Without a delay buffer, layers before this one must have looked ahead."""
    layer = Streaming('video', 2, 3, PAST, FUTURE, use_query_delay_buffer=False)
    assert layer.output_latency == 0
    x, source = random_sequence(TIME), random_source(TIME)
    for ahead in (0, 1):
        model = build(sl.Serial([sl.Lookahead(ahead), layer]), source)
        with pytest.raises(
            sl.LayerError, match=f'behind 2 void timesteps.* it starts behind {ahead}. Put sl.Lookahead'
        ):
            model.get_initial_state(2, training=False)
    waits, does_not = (
        build(sl.Serial([sl.Lookahead(2), layer.replace(use_query_delay_buffer=w)]), source) for w in (True, False)
    )
    a, b = (stream(model, x, source, 4)[0] for model in (waits, does_not))
    assert not sl.testing.first_difference(a, b)


def test_networks_see_the_source_from_its_start():
    """Those of keys and values count timesteps of the source, which is not late, and that of queries of the input."""
    rotation = sl.ApplyRotaryPositionalEncoding(10.0, only_advance_position_for_valid_timesteps=False)
    networks = {'query_network': rotation, 'key_network': rotation, 'value_network': sl.Delay(1)}
    model = build(sl.Serial([sl.Lookahead(3), Streaming('video', 2, 4, PAST, FUTURE, **networks)]))
    x, source = random_sequence(TIME), random_source(TIME)
    y = jax.jit(lambda x: model.layer(x, training=False, constants={'video': source}))(x)
    assert not sl.testing.first_difference(y, stream(model, x, source, 1)[0][:, 3:])


def test_a_network_of_queries_may_delay():
    """Then the flush is longer: the last query comes out of the network before it begins to wait."""
    layer, constants = Streaming('video', 2, 3, PAST, FUTURE, query_network=sl.Delay(3)), {'video': random_source(TIME)}
    assert (layer.input_latency, layer.output_latency) == (5, 2)
    report = sl.testing.check_contract(
        build(layer), random_sequence(TIME), constants=constants, clauses=['latency', 'start', 'flush']
    )
    report.raise_if_failed()


# --- what a user may do wrong -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ('constants', 'message'),
    [
        (None, r"reads constants\['video'\].* and it is not there"),
        ({'video': random_source(3)}, 'here come 2 timesteps of input and 3 of the constant'),
        ({'video': random_source(2, batch=3)}, 'has a batch of 3 and the input one of 2'),
        ({'video': random_source(2, channels=4)}, r'was built for a source of ChannelSpec\(\(6,\), float32\)'),
        ({'video': random_source(2).values}, 'must be a Sequence'),
    ],
)
def test_wrong_sources_in_a_step(constants, message):
    model = build(Streaming('video', 2, 3, PAST))
    state = model.get_initial_state(2, training=False)
    with pytest.raises(sl.LayerError, match=rf'^StreamingDotProductAttention\.step: .*{message}'):
        model.step(random_sequence(2), state, training=False, constants=constants)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Streaming('video', 2, 3, 0, 2), 'max_past_horizon must be at least 1.*got 0 and 2'),
        (lambda: Streaming('video', 2, 3, -1), 'got -1 and 0'),
        (lambda: Streaming('video', 2, 3, 3, -1), 'got 3 and -1'),
        (lambda: Local('video', 2, 3, 0, 3), 'block_size must be positive, got 0'),
        (lambda: Streaming('', 2, 3, 3), 'a source is the name of a constant'),
        (lambda: Streaming('video', 2, 3, 3, key_network=sl.Lookahead(1)), 'key_network must keep the rate'),
        (
            lambda: Streaming('video', 2, 3, 3, input_projection=sl.CombinedQueryKeyValueProjection()),
            'takes queries and keys from one input',
        ),
    ],
)
def test_wrong_declarations(make, message):
    with pytest.raises(sl.LayerError, match=f'^Streaming(Local)?DotProductAttention.*{message}'):
        make()


def test_why_it_cannot_step():
    network = sl.Serial([sl.Flatten(), sl.GlobalReshape([TIME, 2, 3])])
    layer = Streaming('video', 2, 3, PAST, value_network=network)
    assert not layer.supports_step and 'rearranges time' in layer.explain_streamability()
    assert jnp.isinf(Streaming('video', 2, 3, PAST, query_network=network).receptive_field[1])
