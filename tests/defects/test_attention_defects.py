"""Known defects of the published library, part six: dot-product attention.

The numbers are those of our list of them. Each docstring says what is wrong there, the test what is right.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.testing import first_difference
from tests.attention.naive import assert_valid_close, attend, projected, random_sequence
from tests.defects.helpers import build, steps, whole

V1, V2, Local = sl.DotProductSelfAttention, sl.DotProductSelfAttentionV2, sl.LocalDotProductSelfAttention
Blockwise, Cross, Multi = (
    sl.BlockwiseDotProductSelfAttention,
    sl.DotProductAttention,
    sl.MultiSourceDotProductAttention,
)
SEPARATE = {'input_projection': sl.SeparateQueryKeyValueProjection()}
XL = sl.TransformerXLRelativePositionEmbedding(2, 3, 3, 0, position_bias_dim=4)
TIME = 8
X = random_sequence(TIME)
TEXT = {'text': random_sequence(6, channels=4, seed=5)}


def same(expected, *others):
    return all(first_difference(expected, y) is None for y in others)


@pytest.mark.parametrize(
    'projection',
    [sl.QueryAndKeyValueProjection(), sl.QueryAndSharedKeyValueProjection()],
    ids=lambda p: type(p).__name__,
)
def test_l14_stacked_kernels_start_with_the_variance_of_their_inputs(projection):
    """Published: keys and values that share a kernel are too small by the square root of 2."""
    model = build(V1(4, 16, 3, input_projection=projection), sl.Sequence.from_values(jnp.ones((1, 1, 512))))
    weights = getattr(model, 'key_value_projection', None) or model.shared_key_value_projection
    assert abs(float(weights.kernel[...].std()) * math.sqrt(512) - 1) < 0.03


def even_only(keys):
    return keys.replace(mask=keys.mask & (jnp.arange(keys.shape[1]) % 2 == 0))


def none(keys):
    return keys.replace(mask=keys.mask & False)


@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize('make', [V1, Local, V2, Cross])
def test_l15_what_sees_nothing_gives_zero(make, zero):
    """Published: the mean of everything, of what must not be seen too, in some layers; and otherwise in steps."""
    kwargs = {'zero_fully_masked': zero} if make is not V2 else {}
    kwargs['key_network'] = sl.Lambda(none, sequence_input=True)
    args = {V1: (2, 3, 3), Local: (2, 3, 4, 3), V2: (2, 3, 3), Cross: ('text', 2, 3)}[make]
    model = build(make(*args, use_bias=True, **kwargs), X, constants=TEXT)
    for y in (whole(model, X, constants=TEXT), steps(model, X, constants=TEXT)):
        assert y.mask.any() and not y.values.any()


def test_l16_all_layers_group_heads_alike():
    """Published: head n of the queries has head `n // 2` of two of the keys in some layers, in others `n % 2`."""
    heads = {'num_kv_heads': 2, **SEPARATE}
    band = [V1(4, 3, 3, **heads), V2(4, 3, 3, **heads), Local(4, 3, 4, 3, **heads)]
    all_of_it = [V1(4, 3, -1, -1, **heads), V2(4, 3, -1, -1, **heads), Blockwise(TIME, 4, 3, 0, **heads)]
    to_text = [Cross('text', 4, 3, **heads), Multi('text', 4, 3, **heads)]
    for layers in (band, all_of_it, to_text):
        outputs = [whole(build(layer, X, constants=TEXT), X, constants=TEXT) for layer in layers]
        assert same(*outputs)
    model = build(band[0], X)
    _, context = attend(*projected(model, X), lambda row, i, j: X.mask[row, j] and 0 <= i - j <= 3)
    assert_valid_close(whole(model, X), context)


@pytest.mark.parametrize('make', [V1, Local])
def test_l17_scaled_keys_in_a_ring(make):
    """Published: steps with a ring buffer and `per_dim_key_scale` crash."""
    args = (2, 3, 4, 3) if make is Local else (2, 3, 3)
    model = build(make(*args, per_dim_scale=True, per_dim_key_scale=True, use_kv_cache_ringbuffer=True), X)
    model.dim_key_scale[...] = jnp.asarray([1.0, -2.0, 3.0])
    plain = build(make(*args), X)
    assert same(whole(model, X), steps(model, X)) and not same(whole(model, X), whole(plain, X))


def test_l18_scales_are_of_the_product_with_keys():
    """Published and here: Shaw's positions and sinks meet queries that are not scaled. (Here it is documented.)"""
    shaw = sl.ShawRelativePositionEmbedding(3, 0, 2, 3)
    model = build(V1(2, 3, 3, query_scale=0.0, num_sink_embeddings=1, relative_position_embedding=shaw), X)
    _, emits = jax.jit(lambda x: model.layer_with_emits(x, training=False))(X)
    queries, keys, values = projected(model, X)
    sink, embedding = model.sink_key_embeddings[...][0], model.relative_position_embedding.embedding[...]

    def logit(q, k, head, i, j):  # the sink stands before all others
        return float(q @ (sink[head] if j == 0 else embedding[j - 1 - i + 3, head]))

    def sees(row, i, j):
        return j == 0 or (X.mask[row, j - 1] and 0 <= i - (j - 1) <= 3)

    one_more = [np.concatenate([a[:, :1], a], axis=1) for a in (keys, values)]
    weights, _ = attend(queries, *one_more, sees, logit)
    assert_valid_close(emits.probabilities, weights)


def test_l19_sinusoids_of_distances_are_not_dropped():
    """Published: without effect in `layer` of DotProductSelfAttention, and steps crash."""
    with_positions, without = (build(V1(2, 3, 3, relative_position_embedding=e), X) for e in (XL, None))
    y = whole(with_positions, X)
    assert same(y, steps(with_positions, X)) and not same(y, whole(without, X))


def test_l20_receptive_fields_contain_those_of_the_networks():
    """Published: that of the horizons alone, whatever the networks read."""
    rotation = sl.ApplyRotaryPositionalEncoding(1e4)  # it counts the valid timesteps of all the past
    assert V1(2, 4, 3, 1, query_network=rotation).receptive_field == (-math.inf, 1)
    assert V2(2, 4, 3, value_network=sl.Delay(1)).receptive_field == (-4, 0)
    assert Cross('text', 2, 4, query_network=rotation).receptive_field == (-math.inf, 0)
    assert sl.StreamingDotProductAttention('text', 2, 4, 3, query_network=sl.Delay(2)).receptive_field == (-2, -2)


@pytest.mark.parametrize('network', ['key_network', 'value_network'])
@pytest.mark.parametrize('make', [V1, Local, V2])
def test_l21_a_key_is_seen_if_it_and_its_value_are_valid(make, network):
    """Published: in `layer` of one by the mask of the input, of another by that of the key; in steps by both."""
    args = (2, 3, 4, 3) if make is Local else (2, 3, 3)
    model = build(make(*args, **{network: sl.Lambda(even_only, sequence_input=True)}), X)
    sees = lambda row, i, j: X.mask[row, j] and 0 <= i - j <= 3 and j % 2 == 0  # noqa: E731
    _, context = attend(*projected(model, X), sees)
    for y in (whole(model, X), steps(model, X, blocks=2)):  # in a block as in the whole, every other one is even
        assert_valid_close(y, context)


class Shift(sl.Stateless):
    """A network that reads constants."""

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + constants['shift'])


@pytest.mark.parametrize('layer', [V1(2, 3, 3), V2(2, 3, 3), Blockwise(2, 2, 3, 1), Local(2, 3, 4, 3)])
def test_l22_the_network_of_values_has_constants_in_steps_too(layer):
    """Published: only in `layer`."""
    constants = {'shift': jnp.asarray(2.0)}
    model = build(layer.replace(value_network=Shift()), X, constants=constants)
    y = whole(model, X, constants=constants)
    assert same(y, steps(model, X, constants=constants))
    assert_valid_close(y, whole(build(layer, X), X).values + 2)  # as weights add up to 1


def test_l23_dropping_for_all_queries_is_the_same_in_windows():
    """Published: in `layer` of the local layer, for the same place in all blocks instead."""
    dropout = {'attention_probabilities_dropout_rate': 0.5, 'broadcast_dropout_across_queries': True}
    call = {'training': True, 'rng': jax.random.key(3)}
    local, banded = build(Local(2, 3, 2, 3, **dropout), X), build(V1(2, 3, 3, **dropout), X)
    y = whole(local, X, **call)
    assert same(y, steps(local, X, **call), whole(banded, X, **call)) and not same(y, whole(local, X))


@pytest.mark.parametrize('m', [1, 3])
def test_l24_a_block_that_sees_itself_alone_has_a_state_of_one_size(m):
    """Published: it grows from nothing to a block in the first step, so that steps cannot be scanned."""
    model = build(Blockwise(2, 2, 3, 0), X)
    state = jax.eval_shape(lambda: model.get_initial_state(2, training=False))
    after = jax.eval_shape(lambda s: model.step(X[:, : 2 * m], s, training=False)[1], state)
    before, after = ([(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(s)] for s in (state, after))
    assert before == after
    assert same(whole(model, X), steps(model, X))


@pytest.mark.parametrize('layer', [V2(2, 3, 7), Blockwise(4, 2, 3, 1), Multi('text', 2, 3)])
def test_l25_segments_are_arrays_or_sequences(layer):
    """Published: one layer wants arrays; the others want Sequences and then crash."""
    draw = np.random.default_rng(0)
    segments = {'q': draw.integers(0, 2, (2, TIME)), 's': draw.integers(0, 2, (2, 6))}
    fields = {'query_segment_ids_name': 'q', 'source_segment_ids_names': 's'}
    with_segments = layer.replace(**(fields if isinstance(layer, Multi) else {'segment_ids_name': 'q'}))
    arrays, sequences = (
        {**TEXT, **{k: f(a) for k, a in segments.items()}} for f in (jnp.asarray, sl.Sequence.from_values)
    )
    model, without = (build(each, X, constants=arrays) for each in (with_segments, layer))
    y, plain = whole(model, X, constants=arrays), whole(without, X, constants=arrays)
    assert same(y, whole(model, X, constants=sequences), sl.step_by_step(model, X, constants=sequences))
    assert not same(y, plain)


@pytest.mark.parametrize('make', [V1, Local, Cross])
def test_l31_weights_are_dropped_in_steps_as_in_the_whole(make):
    """Published: with other draws."""
    args = {V1: (2, 3, 3), Local: (2, 3, 4, 3), Cross: ('text', 2, 3)}[make]
    model = build(make(*args, attention_probabilities_dropout_rate=0.4), X, constants=TEXT)
    call = {'training': True, 'rng': jax.random.key(3), 'constants': TEXT}
    y = whole(model, X, **call)
    assert same(y, *(steps(model, X, n, **call) for n in (1, 3)))
    other = {**call, 'rng': jax.random.key(4)}
    assert not same(y, whole(model, X, **other)) and not same(y, whole(model, X, constants=TEXT))


def test_l32_a_ring_takes_blocks_of_any_length_and_everything_else():
    """Published: single timesteps only, and neither grouped heads nor sinks nor relative positions."""
    rich = V1(
        4, 3, 3, 2, num_kv_heads=2, num_sink_embeddings=2, use_kv_cache_ringbuffer=True,
        relative_position_embedding=sl.ALiBi(4), **SEPARATE,
    )  # fmt: skip
    x = random_sequence(26)
    model = build(rich, x)
    y, latency = whole(model, x), model.output_latency
    for m in (1, 2, 5, 13):
        assert same(y, steps(model, x, m)[:, latency:])


def test_l33_a_step_joins_no_cache():
    """Published: all entries are copied in every step, once to join them with the new one and once to cut them."""
    window, batch = 100, 2
    model = build(V1(2, 3, window), X)
    x, state = X[:, :1], model.get_initial_state(batch, training=False)
    program = jax.make_jaxpr(lambda x, s: model.step(x, s, training=False))(x, state)
    entries = state.cache.entries.keys.shape
    writes = [e for e in program.jaxpr.eqns if entries in [v.aval.shape for v in e.outvars]]
    assert {e.primitive.name for e in writes} == {'scatter'}


@pytest.mark.parametrize('layer', [V1(1, 4, -1), V2(1, 4, -1, attention_logits_soft_cap=4.0), Multi('x', 1, 4)])
def test_l35_the_backward_pass_keeps_no_weights(layer):
    """Published: no layer can use a fused kernel, and the one that keeps no weights has no other."""
    time = 256
    x = sl.Sequence.from_values(jnp.zeros((1, time, 4)))
    model = build(layer, x, constants={'x': x})

    def pullback(values):
        run = lambda v: model.layer(x.replace(values=v), training=False, constants={'x': x}).values  # noqa: E731
        return jax.vjp(run, values)[1]

    kept = jax.tree.leaves(jax.eval_shape(pullback, x.values))
    assert sum(math.prod(leaf.shape) for leaf in kept) < time**2


def test_l36_windows_and_all_at_once_can_do_the_same():
    """Published: relative positions, sinks, dropout, emits and grouped heads are each in some algorithms only."""
    everything = {
        'num_kv_heads': 1, 'num_sink_embeddings': 2, 'relative_position_embedding': XL, 'per_dim_scale': True,
        'per_dim_key_scale': True, 'attention_logits_soft_cap': 2.0, 'attention_probabilities_dropout_rate': 0.3,
        **SEPARATE,
    }  # fmt: skip
    x, call = random_sequence(140), {'training': True, 'rng': jax.random.key(0)}  # long enough for windows
    outputs = [
        whole(build(layer, x), x, **call) for layer in (V1(2, 3, 3, **everything), Local(2, 3, 16, 3, **everything))
    ]
    assert same(*outputs)
    assert same(outputs[0], steps(build(V1(2, 3, 3, **everything), x), x, 20, **call))


def test_l37_a_sink_scalar_for_each_head():
    """Published: one layer declares them with a number instead of a shape."""
    for layer in (
        V1(3, 2, 3),
        Local(3, 2, 4, 3),
        Cross('text', 3, 2),
        sl.StreamingDotProductAttention('text', 3, 2, 3),
    ):
        model = build(layer.replace(use_sink_scalars=True, sink_scalars_init=ramp), X, constants=TEXT)
        assert model.sink_scalars[...].tolist() == [0, 1, 2]


def ramp(key, shape, dtype):
    (n,) = shape
    return jnp.arange(n, dtype=dtype)


def test_l38_wrong_use_is_a_value_error_that_says_where():
    """Published: assertions, for a context that relative positions do not know and for sources of another length."""
    with pytest.raises(ValueError, match='knows distances from 3 back to 0 ahead, but the horizons are 5 and 0'):
        Local(2, 3, 4, 5, relative_position_embedding=XL)
    streaming = sl.StreamingLocalDotProductAttention('text', 2, 3, 4, 3)
    model = build(sl.Serial([streaming]), X, constants=TEXT)
    assert whole(model, X, constants=TEXT).shape == (2, TIME, 2, 3)  # here it may have any length in `layer`
    state = model.get_initial_state(2, training=False)
    with pytest.raises(
        ValueError, match=r'layers_0 \(StreamingLocal.*step\): .* 2 timesteps of input and 6 of the constant'
    ):
        model.step(X[:, :2], state, training=False, constants=TEXT)


def test_l39_the_network_of_queries_has_a_state_of_the_compute_dtype():
    """Published: of the dtype of the input."""
    model = build(Cross('text', 2, 3, compute_dtype='bfloat16', query_network=sl.Delay(2)), X, constants=TEXT)
    state = jax.eval_shape(lambda: model.get_initial_state(2, training=False, constants=TEXT))
    assert state.network.values.dtype == state.source.keys.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    'layer', [Cross('text', 2, 3), Multi('text', 2, 3), sl.StreamingDotProductAttention('text', 2, 3, 3)]
)
def test_l40_the_dtype_of_the_source_counts(layer):
    """Published: the dtype that is declared is that of input and parameters."""
    half = {'text': TEXT['text'].astype('bfloat16')}
    layer = layer.replace(param_dtype='bfloat16')
    for text, dtype in ((TEXT, 'float32'), (half, 'bfloat16')):
        model = build(layer, X.astype('bfloat16'), constants=text)
        assert model.output_spec.dtype == dtype
        assert (
            jax.eval_shape(lambda m=model, c=text: m.layer(X.astype('bfloat16'), training=False, constants=c)).dtype
            == dtype
        )
