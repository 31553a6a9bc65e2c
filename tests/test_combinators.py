"""Serial, Parallel, Residual and Repeat: numbers, alignment in steps, states, names and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers import CombinationMode
from seqlayers.combinators.chain import Delayed
from seqlayers.combinators.combine import combine, combined_spec

SPEC = sl.ChannelSpec((3,))
X = sl.testing.random_sequence(SPEC, 11, seed=1)


def build(layer, spec=SPEC, **kwargs):
    return layer.build(spec, rngs=nnx.Rngs(0), **kwargs)


def assert_equal(got, expected, atol=2e-6):
    np.testing.assert_array_equal(got.mask, expected.mask)
    np.testing.assert_allclose(got.mask_invalid().values, expected.mask_invalid().values, atol=atol)


@jax.jit
def both(model, x):
    return model.layer(x, training=False), sl.step_by_step(model, sl.testing.poison(x))


def assert_streams(model):
    """Steps give what `layer` gives, masks included, with NaN at invalid timesteps."""
    expected, stepped = both(model, X)
    assert_equal(stepped, expected)
    return expected


# --- combining ------------------------------------------------------------------------------------------------


def reference(values, mode):
    """Channels of (batch, time, *channels) combined one timestep at a time, as NumPy broadcasts them."""
    if mode == 'concat':
        values = [v[..., None] if v.ndim == 2 else v for v in values]
        outer = np.broadcast_shapes(*(v.shape[2:-1] for v in values))
        return np.stack(
            [
                [np.concatenate([np.broadcast_to(v[b, t], outer + v.shape[-1:]) for v in values], -1) for t in range(2)]
                for b in range(2)
            ]
        )
    fold = {'stack': np.stack, 'add': np.sum, 'mean': np.mean, 'product': np.prod}[mode]
    return np.stack([[fold(np.broadcast_arrays(*(v[b, t] for v in values)), 0) for t in range(2)] for b in range(2)])


@pytest.mark.parametrize('mode', list(CombinationMode))
@pytest.mark.parametrize(
    'shapes',
    [[()], [(), ()], [(), (2,)], [(3,), (3,)], [(1,), (4,), (1,)], [(5,), (3, 5)], [(2, 1, 3), (4, 1)]],
    ids=str,
)
def test_each_mode_against_numpy(mode, shapes):
    draw = np.random.default_rng(0)
    values = [draw.standard_normal((2, 2, *shape)).astype(np.float32) for shape in shapes]
    masks = [draw.random((2, 2)) < 0.7 for _ in shapes]
    y = combine([sl.Sequence(v, jnp.asarray(m)) for v, m in zip(values, masks, strict=True)], mode)
    expected = reference(values, mode.value)
    np.testing.assert_allclose(y.values, expected, rtol=1e-6)
    np.testing.assert_array_equal(y.mask, np.logical_and.reduce(masks))
    spec = combined_spec([sl.ChannelSpec(shape) for shape in shapes], mode)
    assert spec == sl.ChannelSpec(expected.shape[2:])


@pytest.mark.parametrize(
    ('dtypes', 'mode', 'expected'),
    [
        (['int8', 'int32'], 'add', 'int32'),
        (['bfloat16', 'float32'], 'stack', 'float32'),
        (['bfloat16', 'bfloat16'], 'mean', 'bfloat16'),
        (['int32', 'int32'], 'mean', 'float32'),
        (['int32', 'complex64'], 'concat', 'complex64'),
    ],
)
def test_dtypes_are_promoted(dtypes, mode, expected):
    specs = [sl.ChannelSpec((2,), dtype) for dtype in dtypes]
    assert combined_spec(specs, CombinationMode(mode)).dtype == expected
    branches = sl.Parallel([sl.Cast(dtype) for dtype in dtypes], combination=mode)
    y = build(branches, specs[0]).layer(sl.Sequence.from_values(jnp.ones((1, 2, 2), dtypes[0])), training=False)
    assert y.dtype == expected


def test_mean_of_integers_is_exact():
    model = build(sl.Parallel([sl.Identity(), sl.Add(1)], combination='mean'), sl.ChannelSpec((), 'int32'))
    assert model.layer(sl.Sequence.from_values(jnp.array([[1, 2]])), training=False).values.tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (
            lambda: sl.Parallel([sl.Dense(2), sl.Dense(3)], combination='add'),
            r'layers_0 \(Parallel.build\): cannot add branches with',
        ),
        (
            lambda: sl.Parallel([sl.Identity()], combination='sum'),
            "must be one of stack, concat, add, mean, product; got 'sum'",
        ),
        (lambda: sl.Parallel(sl.Identity(), sl.Identity()), 'must be one of .*; got Identity'),
        (
            lambda: sl.Parallel([sl.Identity(), sl.Downsample1D(2)]),
            'need one output ratio, got 1, 1/2 .* Add Downsample1D',
        ),
        (
            lambda: sl.Residual([sl.Downsample1D(2)]),
            'one output ratio, got 1/2 and 1. Give shortcut_layers of ratio 1/2',
        ),
        (lambda: sl.Residual([sl.Dense(1)]), r'adds channels \(1,\) .* to channels \(3,\).* DenseShaped\(\[3\]\)'),
        (lambda: sl.Serial([sl.Dense]), r'Serial.layers\[0\] must be a layer, got .*: write Dense\(...\)'),
        (lambda: sl.Serial([jax.nn.relu]), r'must be a layer, got .*: wrap a function in sl.Lambda\(fn\)'),
        (lambda: sl.Serial(None), 'Serial.layers takes a list of layers, got None'),
        (
            lambda: sl.Serial(sl.Dense(3), sl.Dense(3)),
            r'share_scope must be a bool.* Layers go into one list: Serial\(\[layer',
        ),
        (
            lambda: sl.Serial([sl.Dense(3)] * 2, share_scope=[True]),
            'share_scope must be a bool, or one for each of the 2',
        ),
        (lambda: sl.Serial([sl.Dense(3, name='a')] * 2), "two layers are named 'a'"),
        (lambda: sl.Serial([sl.Dense(3), sl.Dense(3, name='layers_0')]), "two layers are named 'layers_0'"),
        (lambda: sl.Residual([], shortcut_layers=[3]), r'Residual.shortcut_layers\[0\] must be a layer'),
        (lambda: sl.Repeat(sl.Dense(3), 0), 'num_repeats must be at least 1, got 0'),
        (lambda: sl.Repeat(sl.Downsample1D(2), 2), 'must keep the rate, its output ratio is 1/2'),
        (lambda: sl.Repeat([sl.Dense], 2), r'Repeat.child_layer\[0\] must be a layer'),
        (lambda: sl.Repeat(sl.Dense(4), 2), r'layers_0 \(Repeat.build\): the layer must keep channels and dtype'),
        (lambda: sl.Repeat(sl.Cast('bfloat16'), 2), 'must keep channels and dtype; it maps .*float32.* to .*bfloat16'),
        (lambda: sl.Repeat(build(sl.Dense(3)), 2), r'needs a declaration: .* Give it layer.replace\(\)'),
        (lambda: sl.Repeat(sl.Serial([build(sl.Dense(3))]), 2), 'needs a declaration'),
    ],
)
def test_errors(make, says):
    with pytest.raises(ValueError, match=says):
        build(sl.Serial([make()]))


# --- Serial ---------------------------------------------------------------------------------------------------


def test_serial_is_composition():
    model = build(sl.Serial([sl.Dense(4, activation=jnp.tanh), sl.Serial([]), sl.Dense(2)]))
    first, _, last = model.layers
    expected = np.tanh(X.values @ first.kernel[...] + first.bias[...]) @ last.kernel[...] + last.bias[...]
    np.testing.assert_allclose(model.layer(X, training=False).values, expected, atol=1e-6)


@pytest.mark.parametrize(
    'empty', [sl.Serial([]), sl.Residual([]), sl.Parallel([]), sl.Parallel([], combination='mean')], ids=repr
)
def test_without_layers(empty):
    model = build(empty)
    factor = 2 if isinstance(empty, sl.Residual) else 1
    assert model.output_spec == SPEC and model.receptive_field == (0, 0) and model.output_latency == 0
    np.testing.assert_allclose(assert_streams(model).values, factor * X.values)


def test_a_delay_is_inserted_where_a_layer_needs_it():
    model = build(sl.Serial([sl.Lookahead(1), sl.Downsample1D(2), sl.Dense(2), sl.Upsample1D(2)]))
    assert (model.output_latency, model.block_size) == (2, 2)
    clock, down, dense, up = model.get_initial_state(2, training=False)
    assert isinstance(down, Delayed) and down.state == () and dense == up == ()
    assert down.buffer.shape == (2, 1, 3) and not down.buffer.mask.any()
    assert clock.shape == (2,)
    assert_streams(model)


def test_states_are_of_this_model():
    model = build(sl.Serial([sl.Delay(1), sl.Dense(2)]))
    for state in ((), None, [(), ()]):
        with pytest.raises(sl.LayerError, match='the state must be a tuple of 2'):
            model.step(X, state, training=False)


# --- Parallel and Residual --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'branches',
    [
        [sl.Lookahead(3), sl.Dense(3), sl.Delay(2)],
        [sl.Serial([sl.Lookahead(2), sl.Downsample1D(2)]), sl.Serial([sl.Downsample1D(2), sl.Lookahead(4)])],
        [
            sl.Serial([sl.Lookahead(1), sl.Upsample1D(3)]),
            sl.Serial([sl.Upsample1D(3), sl.Lookahead(4)]),
            sl.Upsample1D(3),
        ],
        [sl.Serial([sl.Downsample1D(2), sl.Lookahead(1), sl.Upsample1D(2)]), sl.Serial([sl.Lookahead(5)])],
        [
            sl.Lookahead(1),
            sl.Serial([sl.Downsample1D(3), sl.Upsample1D(3)]),
            sl.Serial([sl.Downsample1D(2), sl.Upsample1D(2)]),
        ],
        [sl.Delay(1, delay_layer_output=False), sl.Parallel([sl.Lookahead(2), sl.Identity()], combination='product')],
    ],
    ids=repr,
)
def test_branches_are_aligned_in_steps(branches):
    model = build(sl.Serial([sl.Lookahead(1), sl.Parallel(branches, combination='add')]))
    y = assert_streams(model)
    parts = [build(sl.Serial([sl.Lookahead(1), branch])).layer(X, training=False) for branch in branches]
    # Dense has its own weights in each model, so only the others say what the sum is.
    if not any(isinstance(branch, sl.Dense | sl.Parallel) for branch in branches):
        length = min(part.shape[1] for part in parts)
        assert y.shape[1] == length
        np.testing.assert_allclose(y.values, sum(part.values[:, :length] for part in parts), atol=1e-6)
        np.testing.assert_array_equal(y.mask, np.logical_and.reduce([part.mask[:, :length] for part in parts]))


def test_the_latest_branch_decides():
    model = build(sl.Parallel([sl.Lookahead(1), sl.Lookahead(3), sl.Identity()]))
    assert (model.output_latency, model.input_latency, model.receptive_field) == (3, 3, (0, 3))
    late, latest, now = model.get_initial_state(2, training=False)
    assert isinstance(late, Delayed) and late.buffer.shape == (2, 2, 3)
    assert isinstance(now, Delayed) and now.buffer.shape == (2, 3, 3) and now.state == ((),)
    assert not isinstance(latest, Delayed)


def test_lengths_are_cut_to_the_shortest():
    model = build(sl.Parallel([sl.Lookahead(4), sl.Delay(2), sl.Identity()]))
    assert model.layer(X, training=False).shape == (6, 7, 3, 3)
    assert model.layer(X[:, :2], training=False).shape == (6, 0, 3, 3)
    odd = build(sl.Residual([sl.Downsample1D(2), sl.Upsample1D(2)]))
    assert odd.layer(X, training=False).shape == X.shape
    assert_streams(odd)


def test_one_timestep_is_cut_and_not_broadcast():
    model = build(sl.Parallel([sl.Identity(), sl.Lookahead(10)], combination='add'))
    y = model.layer(X, training=False)
    assert y.shape == (6, 1, 3)
    np.testing.assert_allclose(y.values[:, 0], X.values[:, 0] + X.values[:, 10])


def test_residual_adds():
    model = build(sl.Residual([sl.Dense(3, activation=jnp.tanh)], shortcut_layers=[sl.Dense(3), sl.Delay(2)]))
    body, (skip, _) = model.layers[0], model.shortcut_layers
    expected = np.tanh(X.values @ body.kernel[...] + body.bias[...])
    expected[:, 2:] += (X.values @ skip.kernel[...] + skip.bias[...])[:, :-2]
    y = assert_streams(model)
    np.testing.assert_allclose(y.values, expected, atol=2e-6)
    np.testing.assert_array_equal(y.mask[:, 2:], X.mask[:, 2:] & X.mask[:, :-2])
    assert not y.mask[:, :2].any()


def test_residual_around_a_look_ahead():
    model = build(sl.Residual([sl.Lookahead(2)]))
    assert model.output_latency == 2
    np.testing.assert_allclose(assert_streams(model).values, X.values[:, 2:] + X.values[:, :-2])


def test_residual_function_may_be_another():
    class Gated(sl.Residual):
        def residual_function(self, body, shortcut):
            return body.apply_values(lambda v: v * shortcut.values)

    model = build(Gated([sl.Identity()]))
    np.testing.assert_allclose(model.layer(X, training=False).values, X.values**2)
    assert sl.Residual([sl.Identity()], shortcut_layers=sl.Identity()) == sl.Residual([sl.Identity()], [sl.Identity()])
    assert sl.Residual([sl.Identity()], shortcut_layers=None) == sl.Residual([sl.Identity()])


def test_emits_and_names():
    layers = [sl.Emit(name='tap'), sl.Emit()]
    for layer in (sl.Serial(layers), sl.Parallel(layers)):
        assert list(build(layer).layer_with_emits(X, training=False)[1]) == ['tap', 'layers_1']
    body, shortcut = build(sl.Residual(layers, shortcut_layers=[sl.Emit()])).layer_with_emits(X, training=False)[1]
    assert (list(body), list(shortcut)) == (['tap', 'layers_1'], ['shortcut_layers_0'])
    model = build(sl.Serial([sl.Residual([sl.Dropout(0.5, name='drop')], name='inner')]))
    with pytest.raises(sl.LayerError, match=r'^inner/drop \(Dropout.layer\)'):
        model.layer(X, training=True)


# --- Repeat ---------------------------------------------------------------------------------------------------


def unrolled(model: sl.Repeat) -> sl.Serial:
    """The plain chain with the weights of each repetition."""
    layers = [jax.tree.map(lambda a, i=i: a[i], model.child_layer) for i in range(model.num_repeats)]
    return sl.Serial(layers).build(model.input_spec, rngs=0)


BODIES = {
    'pointwise': sl.Dense(3, activation=jnp.tanh),
    'memory': sl.Conv1D(3, 2, padding='causal', activation=jnp.tanh),
    'look-ahead': sl.Residual([sl.Dense(3, activation=jnp.tanh), sl.Lookahead(2)]),
    'strided': sl.Serial([sl.Downsample1D(2), sl.Dense(3), sl.Upsample1D(2)]),
    'strided look-ahead': sl.Serial([sl.Downsample1D(2), sl.Dense(3), sl.Upsample1D(2), sl.Lookahead(1)]),
    'nested': sl.Repeat(sl.Residual([sl.Dense(3, activation=jnp.tanh), sl.Lookahead(1)]), 2),
}


@pytest.mark.parametrize(
    ('body', 'behind'),
    [('memory', 0), ('look-ahead', 1), *((b, n) for b in ('strided', 'strided look-ahead', 'nested') for n in (0, 1))],
)
def test_repeat_streams_behind_any_offset(body, behind):
    assert_streams(build(sl.Serial([sl.Lookahead(behind), sl.Repeat(BODIES[body], 2), sl.Dense(2)])))


@pytest.mark.parametrize('body', [b for b in BODIES if b != 'nested'])
def test_repeat_is_the_plain_chain(body):
    model = build(sl.Repeat(BODIES[body], 3))
    plain = unrolled(model)
    x = X.pad_to_multiple(model.block_size)

    @jax.jit
    def value_and_gradient(model, values):
        def loss(model, values):
            y = model.layer(sl.Sequence(values, x.mask), training=False)
            return jnp.square(y.mask_invalid().values).sum(), y

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(model, values)

    (_, y), (by_model, by_x) = value_and_gradient(model, x.values)
    (_, expected), (by_plain, by_x_plain) = value_and_gradient(plain, x.values)
    assert_equal(y[:, : expected.shape[1]], expected)  # the chain shortens, a repetition keeps the length
    assert not y.mask[:, expected.shape[1] :].any()
    np.testing.assert_allclose(by_x, by_x_plain, atol=1e-5)
    rest = jax.tree.map(lambda *leaves: jnp.stack(leaves), *by_plain.layers)
    for got, wanted in zip(jax.tree.leaves(by_model), jax.tree.leaves(rest), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_repetitions_have_parameters_of_their_own():
    model = build(sl.Repeat(sl.Dense(3), 4))
    assert model.child_layer.kernel.shape == (4, 3, 3) and model.child_layer.bias.shape == (4, 3)
    kernels = np.asarray(model.child_layer.kernel[...])
    assert all(not np.allclose(kernels[i], kernels[j]) for i in range(4) for j in range(i))
    assert np.abs(kernels.std() - 3**-0.5) < 0.2  # the fan-in is that of one repetition
    nested = build(sl.Repeat(sl.Repeat(sl.Dense(3), 2), 5))
    assert nested.child_layer.child_layer.kernel.shape == (5, 2, 3, 3)


@pytest.mark.parametrize(
    'flags', [{'remat': True}, {'unroll_layer': True}, {'unroll_step': True, 'prevent_cse': True}], ids=str
)
def test_flags_change_no_number(flags):
    body = sl.Residual([sl.Dense(3, activation=jnp.tanh), sl.Lookahead(1), sl.Emit()])
    plain, model = build(sl.Repeat(body, 3)), build(sl.Repeat(body, 3, **flags))

    @jax.jit
    def run(model):
        y, emits = model.layer_with_emits(X, training=False)
        state = model.get_initial_state(X.shape[0], training=False)
        return y, emits, model.step_with_emits(X, state, training=False)

    for got, wanted in zip(jax.tree.leaves(run(model)), jax.tree.leaves(run(plain)), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    if model.remat:
        gradient = jax.jit(jax.grad(lambda m: m.layer(X, training=False).values.sum()))
        for got, wanted in zip(jax.tree.leaves(gradient(model)), jax.tree.leaves(gradient(plain)), strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_remat_recomputes():
    def saved(remat):
        model = build(sl.Repeat(sl.Serial([sl.Dense(3, activation=jnp.tanh)] * 4), 3, remat=remat))
        _, pullback = jax.vjp(lambda m: m.layer(X, training=False).values, model)
        return sum(leaf.size for leaf in jax.tree.leaves(pullback) if hasattr(leaf, 'size'))

    assert saved(True) < saved(False)


def test_state_of_repeat():
    model = build(sl.Repeat(sl.Serial([sl.Lookahead(2), sl.Delay(3), sl.Dense(3)]), 4))
    ((clock, buffer, dense),) = model.get_initial_state(2, training=False)
    assert clock.tolist() == [
        [-2 * i] * 2 for i in range(4)
    ]  # each repetition starts behind the latency of those before
    assert buffer.shape == (4, 2, 3, 3) and dense == ()
    delayed = build(sl.Repeat(BODIES['strided look-ahead'], 2))
    (state,) = delayed.get_initial_state(1, training=False)
    assert isinstance(state, Delayed) and state.buffer.shape == (2, 1, 1, 3)
    assert build(sl.Repeat(sl.Identity(), 2)).get_initial_state(1, training=False) == ((),)


def test_emits_of_repeat_are_stacked():
    model = build(sl.Repeat(sl.Serial([sl.Dense(3), sl.Emit(name='out')], name='block'), 3))
    y, emits = model.layer_with_emits(X, training=False)
    assert emits['out'].values.shape == (3, *X.shape) and emits['out'].mask.shape == (3, *X.mask.shape)
    np.testing.assert_array_equal(emits['out'].values[-1], y.values)


def test_names_inside_repeat():
    for layer, path in ((sl.Dropout(0.5), 'child_layer'), (sl.Dropout(0.5, name='drop'), 'drop')):
        with pytest.raises(sl.LayerError, match=rf'^layers_0/{path} \(Dropout.layer\)'):
            build(sl.Serial([sl.Repeat(layer, 2)])).layer(X, training=True)
    assert sl.Repeat(layer=sl.Dense(3), num_repeats=2) == sl.Repeat(sl.Dense(3), 2)  # the published name of the field


def test_a_lengthening_layer_cannot_be_repeated():
    with pytest.raises(sl.LayerError, match='must not lengthen the sequence: 11 to 13 timesteps'):
        build(sl.Repeat(sl.Delay(2), 2)).layer(X, training=False)


@pytest.mark.parametrize('flags', [{}, {'remat': True}, {'unroll_layer': True}], ids=str)
def test_statistics_of_repetitions_are_kept(flags):
    class Mean(sl.Stateless):
        """Doubles, and remembers the mean that it saw in training."""

        def setup(self, input_spec, rngs, constants):
            self.mean = nnx.BatchStat(jnp.zeros(()))

        def layer(self, x, *, training, constants=None):
            if training:
                self.mean[...] = x.values.mean()
            return x.apply_values(lambda v: 2 * v)

    model = build(sl.Repeat(sl.Repeat(Mean(), 2), 2, **flags))
    x = X.replace(values=jnp.ones(X.shape))
    model.layer(x, training=False)
    assert model.child_layer.child_layer.mean[...].tolist() == [[0, 0], [0, 0]]
    nnx.jit(lambda m: m.layer(x, training=True))(model)
    assert model.child_layer.child_layer.mean[...].tolist() == [[1, 2], [4, 8]]


# --- the whole contract -----------------------------------------------------------------------------------------


def test_contract_of_a_deep_nest():
    inner = sl.Parallel([sl.Dense(3), sl.Repeat(BODIES['strided look-ahead'], 2)], combination='concat')
    layer = sl.Residual([sl.Lookahead(1), inner], shortcut_layers=[sl.Delay(1), sl.Dense(6)])
    sl.testing.check_contract(build(layer)).raise_if_failed()
