"""Attention to sources that are there as a whole: against loops, in `layer` and in steps; what a user may do wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.attention.cross_attention import SourceWeights
from tests.attention.naive import assert_valid_close, attend, projected, random_sequence

TIME, SOURCE_TIME, SPEC = 7, 9, sl.ChannelSpec((5,))
GROUPED = {'num_kv_heads': 2}
SHAW = sl.ShawRelativePositionEmbedding(3, 2, 4, 3)
T5 = sl.T5RelativePositionEmbedding(8, 4, bidirectional=True, max_distance=16)


def random_source(time=SOURCE_TIME, channels=6, batch=2, seed=5):
    source = random_sequence(time, channels, batch, seed, share=0.7)
    return source.replace(values=source.values.at[:, 1].set(0.5), mask=source.mask.at[:, 1].set(True))  # never empty


def both_ways(model, x, constants):
    """`layer` and steps of 3 timesteps, with emits."""

    @jax.jit
    def run(x, constants):
        outputs = [model.layer_with_emits(x, training=False, constants=constants)]
        names = model.streamed_constants(constants)
        state, parts = model.get_initial_state(len(x.values), training=False, constants=constants), []
        for t in range(0, x.shape[1], 3):
            now = {n: c[:, t : t + 3] if n in names else c for n, c in constants.items()}
            y, state, emits = model.step_with_emits(x[:, t : t + 3], state, training=False, constants=now)
            parts.append((y, emits))
        join = lambda *parts: jax.tree.map(lambda *a: jnp.concatenate(a, axis=1), *parts)  # noqa: E731
        return [*outputs, join(*parts)]

    return run(x, constants)


# --- one source -------------------------------------------------------------------------------------
@pytest.mark.parametrize('source_batch', [2, 1])
@pytest.mark.parametrize(
    'projection',
    [sl.QueryAndKeyValueProjection(), sl.SeparateQueryKeyValueProjection()],
    ids=lambda projection: type(projection).__name__,
)
def test_one_source(projection, source_batch):
    x, source = random_sequence(TIME), random_source(batch=source_batch)
    constants = {'text': source}
    layer = sl.DotProductAttention('text', 4, 3, input_projection=projection, **GROUPED)
    model = layer.build(SPEC, rngs=0, constants=constants)
    queries, keys, values = projected(model, x, source)
    keys, values = (np.broadcast_to(a, (2, *a.shape[1:])) for a in (keys, values))
    mask = np.broadcast_to(source.mask, (2, SOURCE_TIME))
    weights, context = attend(queries, keys, values, lambda row, i, j: mask[row, j])
    for y, emits in both_ways(model, x, constants):
        assert np.array_equal(y.mask, x.mask)
        assert_valid_close(y, context)
        assert list(emits.probabilities_by_source) == ['text']
        assert_valid_close(emits.probabilities_by_source['text'], weights)


@pytest.mark.parametrize('positions', [None, 'positions'])
@pytest.mark.parametrize('embedding', [SHAW, T5], ids=['Shaw', 'T5'])
def test_relative_positions(embedding, positions):
    """The distance is that of timesteps, or from the position that the query is given."""
    x, source = random_sequence(TIME), random_source()
    given = np.array([[0, 0, 2, 3, 3, 8, 9], [9, 1, 0, 4, 4, 4, 7]])
    constants = {'text': source, 'positions': given}
    layer = sl.DotProductAttention('text', 4, 3, relative_position_embedding=embedding, query_positions_name=positions)
    model = layer.build(SPEC, rngs=0, constants=constants)
    table = np.asarray(model.relative_position_embedding.embedding[...])
    place = given if positions else np.broadcast_to(np.arange(TIME), (2, TIME))

    def logit(row, q, k, head, i, j):
        distance = j - place[row, i]
        if embedding is SHAW:
            return q @ k / 3**0.5 + q @ table[min(max(distance, -3), 2) + 3, head]
        return q @ k / 3**0.5 + table[int(embedding.bucket(jnp.asarray(distance))), head]

    rows = [  # a logit does not know its row
        attend(*(a[r : r + 1] for a in projected(model, x, source)), lambda _, i, j, r=r: source.mask[r, j],
               lambda *pair, r=r: logit(r, *pair))
        for r in range(2)
    ]  # fmt: skip
    context = np.concatenate([context for _, context in rows])
    for y, _ in both_ways(model, x, constants):
        assert_valid_close(y, context)


@pytest.mark.parametrize('sinks', [{'num_sink_embeddings': 2}, {'use_sink_scalars': True}])
def test_sinks_come_first(sinks):
    x, constants = random_sequence(TIME), {'text': random_source()}
    model = sl.DotProductAttention('text', 2, 3, **sinks).build(SPEC, rngs=0, constants=constants)
    hidden = np.asarray(~constants['text'].mask)
    for _, emits in both_ways(model, x, constants):
        weights = emits.probabilities_by_source['text'].values
        num_sinks = 2 if 'num_sink_embeddings' in sinks else 1
        assert weights.shape == (2, TIME, 2, num_sinks + SOURCE_TIME)
        assert (weights[..., :num_sinks] > 0).all()
        seen = np.asarray(weights)[..., num_sinks:] > 0
        np.testing.assert_array_equal(seen, np.broadcast_to(~hidden[:, None, None], seen.shape))
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_a_source_without_a_valid_timestep_gives_zero():
    x, source = random_sequence(TIME), random_source()
    source = source.replace(mask=source.mask.at[0].set(False))
    model = sl.DotProductAttention('text', 2, 3, use_bias=True).build(SPEC, rngs=0, constants={'text': source})
    for y, _ in both_ways(model, x, {'text': source}):
        assert not y.values[0].any() and y.values[1].any()


def test_keys_and_values_follow_the_source_if_told_to():
    """They are computed in `get_initial_state`, or in every step."""
    x, first, second = random_sequence(TIME), {'text': random_source(seed=1)}, {'text': random_source(seed=2)}
    for recompute in (False, True):
        layer = sl.DotProductAttention('text', 2, 3, recompute_kv_per_step=recompute)
        model = layer.build(SPEC, rngs=0, constants=first)

        @jax.jit
        def run(x, first, second, model=model):
            state = model.get_initial_state(2, training=False, constants=first)
            y, state = model.step(x[:, :3], state, training=False, constants=first)
            z, _ = model.step(x[:, 3:], state, training=False, constants=second)
            return y, z, *(model.layer(x, training=False, constants=c) for c in (first, second))

        y, z, of_first, of_second = run(x, first, second)
        assert not sl.testing.first_difference(of_first[:, :3], y)
        assert not sl.testing.first_difference((of_second if recompute else of_first)[:, 3:], z)
        assert sl.testing.first_difference((of_first if recompute else of_second)[:, 3:], z)


def test_networks_of_the_source_run_over_all_of_it():
    """One may look ahead, or change the number of timesteps."""
    x, constants = random_sequence(TIME), {'text': random_source(channels=6)}
    ahead = sl.Conv1D(3, 3, padding='same')
    model = sl.DotProductAttention('text', 1, 3, key_network=ahead, value_network=ahead).replace(
        key_network=sl.Serial([sl.Flatten(), sl.Conv1D(3, 3, strides=2, padding='same'), sl.Reshape((1, 3))]),
        value_network=sl.Downsample1D(2),
    )
    model = model.build(SPEC, rngs=0, constants=constants)
    (y, emits), (stepped, _) = both_ways(model, x, constants)
    assert emits.probabilities_by_source['text'].shape == (2, TIME, 1, 5)
    assert not sl.testing.first_difference(y, stepped)


# --- several sources --------------------------------------------------------------------------------
def several(batch=2):
    draw = np.random.default_rng(3)
    segments = {
        name: draw.integers(0, 2, (batch, t)) for name, t in (('of queries', TIME), ('of text', 9), ('of image', 4))
    }
    return {'text': random_source(), 'image': random_source(4, seed=8), **segments}


@pytest.mark.parametrize('separate', [False, True])
@pytest.mark.parametrize('segments', [False, True])
def test_several_sources_share_one_softmax(segments, separate):
    x, constants = random_sequence(TIME), several()
    names = ('text', 'image')
    fields = {
        'query_segment_ids_name': 'of queries', 'source_segment_ids_names': ['of text', 'of image'],
    } if segments else {}  # fmt: skip
    layer = sl.MultiSourceDotProductAttention(
        names, 4, 3, use_separate_kv_projections=separate, flash_attention_query_block_size=2, **GROUPED, **fields
    )
    model = layer.build(SPEC, rngs=0, constants=constants)
    projections = [getattr(model, f'{name}_projection', model) for name in names]
    assert all(isinstance(p, SourceWeights) == separate for p in projections)
    parts = []
    for name, projection in zip(names, projections, strict=True):
        kernel = np.moveaxis(np.asarray(projection.key_value_projection.kernel[...]), 1, 0)
        values = np.asarray(constants[name].mask_invalid().values)
        parts.append([np.einsum('btc,cnh->btnh', values, k) for k in kernel])
    keys, values = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    kernel = np.asarray(model.query_projection.kernel[...])
    queries = np.einsum('btc,cnh->btnh', np.asarray(x.mask_invalid().values), kernel)
    mask = np.concatenate([constants[name].mask for name in names], axis=1)
    of_source = np.concatenate([constants[f'of {name}'] for name in names], axis=1)

    def sees(row, i, j):
        return mask[row, j] and (not segments or constants['of queries'][row, i] == of_source[row, j])

    _, context = attend(queries, keys, values, sees)
    for y, emits in both_ways(model, x, constants):
        assert emits == ()
        assert_valid_close(y, context)


def test_a_single_name_is_one_source():
    x, constants = random_sequence(TIME), {'text': random_source()}
    one, several = (
        layer.build(SPEC, rngs=0, constants=constants)
        for layer in (sl.DotProductAttention('text', 2, 3), sl.MultiSourceDotProductAttention('text', 2, 3))
    )
    a, b = jax.jit(lambda x: [m.layer(x, training=False, constants=constants) for m in (one, several)])(x)
    assert not sl.testing.first_difference(a, b)


def test_names_of_labels():
    layer = sl.MultiSourceDotProductAttention(
        ['a', 'b'], 2, 3, query_segment_ids_name='q', source_segment_ids_names='s', source_position_names=['p', 'r']
    )
    assert [layer.labels_of(name) for name in layer.sources] == [
        {'positions': 'p', 'segments': 's'},
        {'positions': 'r', 'segments': 's'},
    ]
    assert layer.streamed_constants({}) == {'q'}


def test_a_donated_state_takes_nothing_of_the_user_along():
    x = random_sequence(TIME)
    constants = {'text': random_source(), 'q': jnp.zeros((2, TIME), jnp.int32), 's': jnp.zeros((2, 9), jnp.int32)}
    layer = sl.MultiSourceDotProductAttention('text', 2, 3, query_segment_ids_name='q', source_segment_ids_names='s')
    model = layer.build(SPEC, rngs=0, constants=constants)
    step = jax.jit(lambda x, state: model.step(x, state, training=False, constants=constants)[1], donate_argnums=1)
    step(x, model.get_initial_state(2, training=False, constants=constants))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(constants))


# --- what a user may do wrong -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ('constants', 'message'),
    [
        ({}, r"reads constants\['text'\], a Sequence \(batch, time, channels\), and it is not there \(given: none\)"),
        (None, r"reads constants\['text'\].* to build, get_initial_state, layer and step"),
        ({'text': jnp.zeros((2, 9, 6))}, r'must be a Sequence \(batch, time, channels\), got .*\(2, 9, 6\)'),
        ({'text': random_source().apply_values(lambda v: v[..., None])}, r'must be a Sequence .*\(2, 9, 6, 1\)'),
        ({'text': random_source(batch=3)}, 'has a batch of 3 and the input one of 2'),
        ({'text': random_source(channels=4)}, r'was built for a source of ChannelSpec\(\(6,\), float32\).*\(\(4,\)'),
        ({'text': random_source().astype('bfloat16')}, r'float32\), and .* has ChannelSpec\(\(6,\), bfloat16\)'),
    ],
)
@pytest.mark.parametrize('make', [sl.DotProductAttention, sl.MultiSourceDotProductAttention])
def test_wrong_sources(make, constants, message):
    model = make('text', 2, 3).build(SPEC, rngs=0, constants={'text': random_source()})
    name = make.__name__
    with pytest.raises(sl.LayerError, match=f'^{name}.layer: .*{message}'):
        model.layer(random_sequence(TIME), training=False, constants=constants)
    with pytest.raises(sl.LayerError, match=f'^{name}.get_initial_state: .*{message}'):
        model.get_initial_state(2, training=False, constants=constants)


def test_sources_that_differ_need_weights_of_their_own():
    constants = {'text': random_source(), 'image': random_source(channels=4)}
    layer = sl.MultiSourceDotProductAttention(['text', 'image'], 2, 3)
    with pytest.raises(sl.LayerError, match=r'by the same weights, and they differ: text .*image .*=True'):
        layer.build(SPEC, rngs=0, constants=constants)
    model = layer.replace(use_separate_kv_projections=True).build(SPEC, rngs=0, constants=constants)
    assert model.image_projection.key_value_projection.kernel.shape == (4, 2, 2, 3)


def multi(names=('a', 'b'), **changes):
    return lambda: sl.MultiSourceDotProductAttention(names, 2, 3, **changes)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: sl.DotProductAttention('', 2, 3), "a source is the name of a constant, got \\(''"),
        (multi(()), 'a source is the name of a constant, got'),
        (multi(('a', 'a')), 'sources must be different constants'),
        (multi(('query', 'a'), use_separate_kv_projections=True), "a source 'query' cannot have a projection"),
        (multi(source_position_names=['p']), 'one for each of the 2 sources; got'),
        (multi(query_segment_ids_name='q'), 'segments need both query_segment_ids_name and source_segment_ids_names'),
        (multi(flash_attention_query_block_size=0), 'flash_attention_query_block_size must be 1 or'),
        (
            lambda: sl.DotProductAttention('a', 2, 3, input_projection=sl.CombinedQueryKeyValueProjection()),
            'takes queries and keys from one input. Give QueryAndKeyValueProjection',
        ),
        (lambda: sl.DotProductAttention('a', 2, 3, query_network=sl.Lookahead(1)), 'query_network must keep the rate'),
        (
            lambda: sl.DotProductAttention('a', 2, 3, key_network=sl.Downsample1D(2)),
            'key_network and value_network must have the same output ratio, got 1/2 and 1',
        ),
        (
            lambda: sl.DotProductAttention(
                'a', 2, 3, relative_position_embedding=sl.TransformerXLRelativePositionEmbedding(2, 3, 4, 4, 4)
            ),
            'the horizons are -1 and -1',
        ),
    ],
)
def test_wrong_declarations(make, message):
    with pytest.raises(sl.LayerError, match=f'^(MultiSource)?DotProductAttention.*{message}'):
        make()


def test_a_source_that_is_no_vector():
    x = random_source().apply_values(lambda v: v.reshape(2, 9, 3, 2))
    with pytest.raises(sl.LayerError, match=r'DotProductAttention.build.*must be a Sequence'):
        sl.DotProductAttention('text', 2, 3).build(SPEC, rngs=0, constants={'text': x})
