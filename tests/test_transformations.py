"""A built model under the transformations of JAX and the tools of Flax NNX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import seqlayers as sl

SPEC = sl.ChannelSpec((3,))
LAYER = sl.Serial(
    [
        sl.Dense(4, activation=jnp.tanh),
        sl.Residual([sl.Lookahead(1), sl.Dense(4)]),
        sl.Repeat(sl.Dense(4, activation=jnp.tanh), 2),
        sl.Dropout(0.1),
        sl.Dense(1),
    ]
)
X = sl.testing.random_sequence(SPEC, 6)


@pytest.fixture(scope='module')
def model():
    return LAYER.build(SPEC, rngs=nnx.Rngs(0))


@pytest.fixture(scope='module')
def expected(model):
    return np.asarray(jax.jit(lambda m: m.layer(X, training=False).values)(model))


def test_jit_of_a_model_traces_once(model, expected):
    traces = []

    @jax.jit
    def forward(model, x):
        traces.append(1)
        return model.layer(x, training=False).values

    for m in (model, model, LAYER.build(SPEC, rngs=nnx.Rngs(0)), nnx.clone(model), nnx.merge(*nnx.split(model))):
        np.testing.assert_allclose(forward(m, X), expected, atol=1e-6)
    assert len(traces) == 1
    forward(LAYER.replace(name='other').build(SPEC, rngs=0), X)
    assert len(traces) == 2


def test_eager_closed_over_and_nnx_jit(model, expected):
    np.testing.assert_allclose(model.layer(X, training=False).values, expected, atol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda x: model.layer(x, training=False).values)(X), expected, atol=1e-6)
    np.testing.assert_allclose(nnx.jit(lambda m, x: m.layer(x, training=False).values)(model, X), expected, atol=1e-6)


def test_build_under_jit_vmap_and_eval_shape(model):
    jitted = jax.jit(lambda key: LAYER.build(SPEC, rngs=nnx.Rngs(key)))(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    ensemble = jax.vmap(lambda key: sl.Dense(4).build(SPEC, rngs=nnx.Rngs(key)))(jax.random.split(jax.random.key(0), 5))
    assert ensemble.kernel.shape == (5, 3, 4) and ensemble.is_built
    outputs = jax.vmap(lambda m: m.layer(X, training=False).values)(ensemble)
    np.testing.assert_allclose(outputs[3], X.values @ ensemble.kernel[3] + ensemble.bias[3], atol=1e-6)
    abstract = nnx.eval_shape(lambda: LAYER.build(SPEC, rngs=nnx.Rngs(0)))
    assert isinstance(abstract.layers[0].kernel.get_value(), jax.ShapeDtypeStruct)


def test_vmap_over_data(model, expected):
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), X)
    both = jax.vmap(lambda x: model.layer(x, training=False).values)(stacked)
    np.testing.assert_allclose(both, np.stack([expected, expected]), atol=1e-6)


def test_gradients_of_plain_jax_and_nnx_agree(model):
    def loss(model):
        return jnp.square(model.layer(X, training=True, rng=jax.random.key(1)).mask_invalid().values).sum()

    value, plain = jax.jit(jax.value_and_grad(loss))(model)
    assert type(plain) is sl.Serial
    by_nnx = nnx.jit(nnx.grad(loss))(model)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(by_nnx), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    norm = np.sqrt(sum(np.vdot(g, g) for g in jax.tree.leaves(plain)))
    moved = jax.tree.map(lambda a, g: a + 1e-3 * g / norm, model, plain)  # uphill
    slope = (jax.jit(loss)(moved) - value) / 1e-3
    assert abs(slope / norm - 1) < 0.02


def test_steps_in_a_scan_with_the_state_as_carry(model, expected):
    state = model.get_initial_state(X.shape[0], training=False)
    blocks = jax.tree.map(lambda a: jnp.stack(jnp.split(a, 3, axis=1)), X.unmask())

    @jax.jit
    def run(model, state, blocks):
        def body(state, x):
            y, state = model.step(x, state, training=False)
            return state, y.values

        return jax.lax.scan(body, state, blocks)

    _, ys = run(model, state, blocks)
    stream = np.concatenate(list(np.asarray(ys)), axis=1)
    np.testing.assert_allclose((stream * X.mask[:, :, None])[0, 1:], expected[0], atol=1e-5)


def test_a_donated_state(model):
    step = jax.jit(lambda m, x, s: m.step(x, s, training=False), donate_argnums=2)
    state = model.get_initial_state(X.shape[0], training=False)
    for t in range(2):
        _, state = step(model, X[:, t : t + 1], state)
    with pytest.raises(RuntimeError, match='deleted'):
        donated = model.get_initial_state(X.shape[0], training=False)
        step(model, X[:, :1], donated)
        jax.tree.map(np.asarray, donated)


def test_dropout_is_never_repeated_silently(model):
    forward = jax.jit(lambda m, key: m.layer(X, training=True, rng=key).values)
    one, two = forward(model, jax.random.key(0)), forward(model, jax.random.key(1))
    assert (one != two).any()
    with pytest.raises(sl.LayerError, match='got no key'):
        jax.jit(lambda m: m.layer(X, training=True))(model)


def test_nnx_optimizer_trains():
    model = LAYER.build(SPEC, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-2), wrt=nnx.Param)

    @nnx.jit
    def train(model, optimizer, key):
        def loss(model):
            y = model.layer(X, training=True, rng=key)
            return jnp.square((y.values - 1) * y.expanded_mask()).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(train(model, optimizer, jax.random.key(i))) for i in range(30)]
    assert losses[-1] < 0.2 * losses[0]


def test_optax_on_the_model_itself():
    model = sl.Dense(1).build(SPEC, rngs=nnx.Rngs(0))
    optimizer = optax.sgd(0.1)
    state = optimizer.init(model)

    @jax.jit
    def train(model, state):
        loss, gradients = jax.value_and_grad(lambda m: jnp.square(m.layer(X, training=False).values - 1).mean())(model)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(20):
        model, state, loss = train(model, state)
        losses.append(float(loss))
    assert type(model) is sl.Dense and losses[-1] < 0.5 * losses[0]


def test_split_and_merge(model, expected):
    graphdef, parameters, rest = nnx.split(model, nnx.Param, ...)
    assert len(jax.tree.leaves(parameters)) == 8 and not jax.tree.leaves(rest)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    forward = jax.jit(lambda p: nnx.merge(graphdef, p, rest).layer(X, training=False).values)
    np.testing.assert_allclose(forward(parameters), expected, atol=1e-6)
    assert not forward(zeros).any()
    paths = {'/'.join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))}
    assert {'layers/0/kernel', 'layers/1/layers/1/bias', 'layers/2/child_layer/kernel'} <= paths


def test_a_declaration_is_a_static_argument():
    build = jax.jit(lambda key, layer: layer.build(SPEC, rngs=nnx.Rngs(key)), static_argnums=1)
    assert build(jax.random.key(0), sl.Dense(4)).kernel.shape == (3, 4)
    build(jax.random.key(0), sl.Dense(features=4))
    assert build._cache_size() == 1
