"""Self-attention with segments, positions, blocks and windows: who sees whom, by loops; emits; declarations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from tests.attention.naive import assert_valid_close, attend, projected, random_sequence

GROUPED = {'num_kv_heads': 2, 'input_projection': sl.SeparateQueryKeyValueProjection()}
TIME = 9


def build(layer, channels=5, constants=None):
    return layer.build(sl.ChannelSpec((channels,)), rngs=0, constants=constants)


def labels(time=TIME):
    """Positions that stand, go on, leap and go back; segments that come again."""
    positions = np.array([[0, 1, 1, 2, 5, 6, 3, 4, 9], [3, 2, 1, 0, 0, 1, 2, 3, 4]])[:, :time]
    return {'positions': positions, 'segments': np.array([[0, 0, 1, 1, 0, 0, 2, 2, 2], [1] * 5 + [0] * 4])[:, :time]}


def within(i, j, past, future):
    return (past == -1 or i - j <= past) and (future == -1 or j - i <= future)


def check(layer, sees, constants=None):
    """`layer` and steps give what the loops give for this rule, which may assume that the key is valid."""
    x = random_sequence(TIME)
    model = build(layer, constants=constants)
    _, expected = attend(*projected(model, x), lambda row, i, j: x.mask[row, j] and sees(row, i, j))

    @jax.jit
    def run(x):
        whole = model.layer(x, training=False, constants=constants)
        return whole, sl.step_by_step(model, x, constants=constants) if model.supports_step else whole

    for y in run(x):
        assert np.array_equal(y.mask, x.mask)
        assert_valid_close(y, expected)


# --- V2 ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(('past', 'future', 'block'), [(3, 2, None), (3, 0, 4), (-1, 0, 4), (2, -1, None)])
def test_grouped_heads(past, future, block):
    """Neighbouring heads of queries share a head of keys."""
    layer = sl.DotProductSelfAttentionV2(4, 3, past, future, flash_attention_query_block_size=block, **GROUPED)
    check(layer, lambda row, i, j: within(i, j, past, future))


@pytest.mark.parametrize('as_sequence', [False, True])
@pytest.mark.parametrize(
    'names', [['segments'], ['positions'], ['segments', 'positions']], ids=lambda names: ' and '.join(names)
)
def test_segments_and_positions(names, as_sequence):
    """Positions are bounded besides timesteps. Labels are arrays or Sequences."""
    past, future, given = 3, 1, labels()
    fields = {'segments': 'segment_ids_name', 'positions': 'position_name'}
    layer = sl.DotProductSelfAttentionV2(2, 3, past, future, **{fields[name]: name for name in names})

    def sees(row, i, j):
        p, s = given['positions'][row], given['segments'][row]
        return (
            within(i, j, past, future)
            and ('positions' not in names or within(p[i], p[j], past, future))
            and ('segments' not in names or s[i] == s[j])
        )

    constants = {name: sl.Sequence.from_values(a) for name, a in given.items()} if as_sequence else given
    check(layer, sees, constants)


def test_labels_may_be_of_one_item_for_all():
    given = {'segments': labels()['segments'][:1]}
    layer = sl.DotProductSelfAttentionV2(2, 3, 4, segment_ids_name='segments')
    check(layer, lambda row, i, j: within(i, j, 4, 0) and len({*given['segments'][0, [i, j]]}) == 1, given)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({}, r"reads constants\['segments'\], integers \(batch, time\), and it is not there"),
        ({'segments': np.zeros((2, 9))}, r'must hold integers \(batch, time\), and is float32\[2, 9\]'),
        ({'segments': np.zeros((2, 9, 1), int)}, r'must hold integers \(batch, time\), and is int32\[2, 9, 1\]'),
        ({'segments': np.zeros((3, 9), int)}, 'has a batch of 3 and the input one of 2'),
        ({'segments': np.zeros((2, 7), int)}, 'has 7 timesteps, fewer than the 9 of the data'),
    ],
)
def test_wrong_labels(given, message):
    layer = sl.DotProductSelfAttentionV2(2, 3, 4, segment_ids_name='segments')
    model = build(layer, constants={'segments': np.zeros((2, 9), int)})
    with pytest.raises(sl.LayerError, match=f'^DotProductSelfAttentionV2.layer: .*{message}'):
        model.layer(random_sequence(TIME), training=False, constants=given)


def test_a_step_takes_the_labels_of_its_block():
    constants = {'segments': np.zeros((2, 9), int)}
    model = build(sl.DotProductSelfAttentionV2(2, 3, 4, segment_ids_name='segments'), constants=constants)
    state = model.get_initial_state(2, training=False, constants=constants)
    with pytest.raises(sl.LayerError, match='here come 2 timesteps of input and 9 of the constant'):
        model.step(random_sequence(TIME)[:, :2], state, training=False, constants=constants)


@pytest.mark.parametrize('delays', [(2, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 3)])
def test_networks_may_delay(delays):
    """And so make a whole sequence longer, each as much as it likes."""
    fields = ('query_network', 'key_network', 'value_network')
    networks = {field: sl.Delay(n) for field, n in zip(fields, delays, strict=True) if n}
    model, x = build(sl.DotProductSelfAttentionV2(2, 3, 4, 2, **networks)), random_sequence(TIME)
    whole, stepped = jax.jit(lambda x: (model.layer(x, training=False), sl.step_by_step(model, x)))(x)
    assert whole.shape[1] == TIME + delays[0]
    assert not sl.testing.first_difference(whole, stepped)


# --- blockwise --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('block', 'past', 'future'), [(2, 1, 0), (4, 1, 1), (3, 0, 0), (2, -1, 1), (2, 1, -1), (3, 0, 2), (20, 1, 0)]
)
def test_blocks_of_time(block, past, future):
    layer = sl.BlockwiseDotProductSelfAttention(block, 4, 3, past, future, **GROUPED)
    check(layer, lambda row, i, j: within(i // block, j // block, past, future))


def test_blocks_of_positions_and_segments():
    given, block = labels(), 2
    layer = sl.BlockwiseDotProductSelfAttention(block, 2, 3, 1, segment_ids_name='segments', position_name='positions')

    def sees(row, i, j):
        p, s = given['positions'][row] // block, given['segments'][row]
        return within(i // block, j // block, 1, 0) and within(p[i], p[j], 1, 0) and s[i] == s[j]

    check(layer, sees, given)


def sees_as_text(layer, time):
    """For each output of `layer`, in ones and zeros, the inputs on which it depends."""
    model = build(layer)
    values = jnp.asarray(np.random.default_rng(0).standard_normal((1, time, 5)), jnp.float32)
    outputs = lambda v: model.layer(sl.Sequence.from_values(v), training=False).values.sum((0, 2, 3))  # noqa: E731
    depends = np.abs(jax.jit(jax.jacrev(outputs))(values)).max(axis=(1, 3)) > 0
    return [''.join('01'[int(d)] for d in row) for row in depends]


def test_the_table_of_blocks():
    assert (
        sees_as_text(sl.BlockwiseDotProductSelfAttention(2, 1, 2, 1), 6)
        == ['110000'] * 2 + ['111100'] * 2 + ['001111'] * 2
    )


@pytest.mark.parametrize(
    'layer', [sl.DotProductSelfAttentionV2(1, 2, 2, 1), sl.LocalDotProductSelfAttention(1, 2, 3, 2, 1)]
)
def test_the_table_of_a_band(layer):
    assert sees_as_text(layer, 5) == ['11000', '11100', '11110', '01111', '00111']


def test_timing_of_blocks():
    layer = sl.BlockwiseDotProductSelfAttention(4, 2, 8, 1, 1)
    assert (layer.block_size, layer.input_latency, layer.output_latency) == (4, 4, 4)
    assert layer.receptive_field_per_step == {0: (-4, 7), 1: (-5, 6), 2: (-6, 5), 3: (-7, 4)}
    assert sl.BlockwiseDotProductSelfAttention(4, 2, 8, 0).receptive_field_per_step[3] == (-3, 0)


def test_a_rotation_in_blocks():
    """A network may have blocks of its own if they fill those of the layer."""
    inside = sl.Blockwise(sl.ApplyRotaryPositionalEncoding(1e4), 2)
    layer = sl.BlockwiseDotProductSelfAttention(4, 2, 4, 1, query_network=inside, key_network=inside)
    x = random_sequence(TIME)
    model = build(layer)
    whole, stepped = jax.jit(lambda x: (model.layer(x, training=False), sl.step_by_step(model, x)))(x)
    assert not sl.testing.first_difference(whole, stepped)
    with pytest.raises(sl.LayerError, match=r'key_network must keep the rate, step by 3 and not look ahead'):
        layer.replace(block=3, query_network=None)


# --- local ------------------------------------------------------------------------------------------
@pytest.mark.parametrize('block', [1, 4, 9, 12])
def test_the_block_of_queries_does_not_matter(block):
    layer = sl.LocalDotProductSelfAttention(4, 3, block_size=block, max_past_horizon=4, max_future_horizon=2, **GROUPED)
    assert (layer.query_block, layer.block_size) == (block, 1)
    check(layer, lambda row, i, j: within(i, j, 4, 2))


@pytest.mark.parametrize('sinks', [{}, {'num_sink_embeddings': 2}, {'use_sink_scalars': True}])
def test_emits_of_windows(sinks):
    """Sinks first; then the window of the query's block, in the order of time."""
    past, future, block = 4, 2, 3
    x = random_sequence(TIME)
    local = build(sl.LocalDotProductSelfAttention(2, 3, block, past, future, **sinks))
    banded = build(sl.DotProductSelfAttention(2, 3, past, future, **sinks))  # with the same parameters

    @jax.jit
    def run(x):
        both = [m.layer_with_emits(x, training=False)[1].probabilities for m in (local, banded)]
        state = local.get_initial_state(2, training=False)
        return *both, local.step_with_emits(x[:, :6], state, training=False)[2].probabilities

    windows, whole, step = run(x)
    num_sinks = whole.shape[3] - TIME
    assert windows.shape == (2, TIME, 2, num_sinks + past + block + future)
    assert step.shape == (2, 6, 2, num_sinks + past + future + 6)
    assert np.array_equal(windows.mask, x.mask) and np.array_equal(whole.mask, x.mask)
    np.testing.assert_allclose(windows.values[..., :num_sinks], whole.values[..., :num_sinks], atol=1e-6)
    for query, column in itertools.product(range(TIME), range(past + block + future)):
        key = query // block * block - past + column
        wanted = whole.values[:, query, :, num_sinks + key] if 0 <= key < TIME else np.zeros((2, 2))
        got = windows.values[:, query, :, num_sinks + column]
        np.testing.assert_allclose(got[x.mask[:, query]], wanted[x.mask[:, query]], atol=1e-6)


def test_the_table_of_a_window():
    """Of the third block, which is not near an end."""
    model = build(sl.LocalDotProductSelfAttention(1, 2, 3, 4, 2))
    x = random_sequence(12, batch=1, share=2)
    _, emits = jax.jit(lambda x: model.layer_with_emits(x, training=False))(x)
    seen = np.asarray(emits.probabilities.values)[0, 6:9, 0] > 0
    assert [''.join('01'[int(s)] for s in row) for row in seen] == ['111111100', '011111110', '001111111']


def test_emits():
    x = random_sequence(TIME)
    for layer in (sl.DotProductSelfAttentionV2(2, 3, 4), sl.BlockwiseDotProductSelfAttention(3, 2, 3, 1)):
        model = build(layer)
        state = jax.eval_shape(lambda m=model: m.get_initial_state(2, training=False))
        assert jax.eval_shape(lambda x, m=model: m.layer_with_emits(x, training=False), x)[1] == ()
        assert jax.eval_shape(lambda x, s, m=model: m.step_with_emits(x, s, training=False), x, state)[2] == ()


# --- declarations -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: sl.LocalDotProductSelfAttention(2, 3, 4, 0, 1), 'must be at least 1.*got 4, 0 and 1'),
        (lambda: sl.LocalDotProductSelfAttention(2, 3, 4, -1), 'DotProductSelfAttention takes horizons without limit'),
        (lambda: sl.LocalDotProductSelfAttention(2, 3, 4, 3, -1), 'at least 0; got 4, 3 and -1'),
        (lambda: sl.LocalDotProductSelfAttention(2, 3, 0, 3), 'block_size and max_past_horizon.*got 0'),
        (lambda: sl.BlockwiseDotProductSelfAttention(0, 2, 3, 1), 'block_size must be at least 1, got 0'),
        (lambda: sl.BlockwiseDotProductSelfAttention(2, 2, 3, -2), 'or -1 for no limit; got past -2'),
        (
            lambda: sl.BlockwiseDotProductSelfAttention(2, 2, 3, 1, flash_attention_query_block_size=3),
            'flash_attention_query_block_size must be 2 or a multiple of it',
        ),
        (lambda: sl.DotProductSelfAttentionV2(2, 3, 4, flash_attention_query_block_size=0), 'must be 1 or.*got 0'),
        (lambda: sl.DotProductSelfAttentionV2(2, 3, 0), 'must not both be 0'),
    ],
)
def test_wrong_declarations(make, message):
    with pytest.raises(sl.LayerError, match=f'^[A-Z].*: .*{message}'):
        make()
