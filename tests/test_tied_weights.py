"""A model whose input and output embeddings are one table, trained in both ways: it stays tied."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import seqlayers as sl

SYMBOLS, WIDTH, STEPS = 7, 4, 20
LAYER = sl.Shared(
    {'embedding': sl.Embedding(dimension=WIDTH, num_embeddings=SYMBOLS)},
    sl.Serial([sl.Ref('embedding'), sl.Dense(WIDTH, activation=jnp.tanh), sl.EmbeddingTranspose('embedding')]),
)
SPEC = sl.ChannelSpec((), jnp.int32)
SYMBOL = np.random.default_rng(0).integers(0, SYMBOLS, (3, 8))
X = sl.Sequence.from_lengths(SYMBOL, [8, 5, 0])
TARGET = (SYMBOL + 1) % SYMBOLS
OPTIMIZER = optax.adam(0.1)


def build():
    return LAYER.build(SPEC, rngs=0)


def cross_entropy(logits, mask):
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
    return jnp.where(mask, losses, 0).sum() / mask.sum()


def loss_of(model):
    y = model.layer(X, training=True)
    return cross_entropy(y.values, y.mask)


# The same model by hand: a dict of its four arrays.


def arrays_of(model):
    dense, output = model.child_layer.layers[1:]
    parameters = model.shared['embedding'].embedding, dense.kernel, dense.bias, output.bias
    return {name: p[...] for name, p in zip(('table', 'kernel', 'bias', 'output_bias'), parameters, strict=True)}


def logits_by_hand(arrays, output_table):
    hidden = jnp.tanh(arrays['table'][SYMBOL] @ arrays['kernel'] + arrays['bias'])
    return hidden @ output_table.T + arrays['output_bias']


def loss_by_hand(arrays):
    return cross_entropy(logits_by_hand(arrays, arrays['table']), X.mask)


def assert_same_arrays(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], err_msg=name, **tolerance)


def test_the_table_is_there_once_and_gets_both_gradients():
    model = build()
    assert sum(leaf.shape == (SYMBOLS, WIDTH) for leaf in jax.tree.leaves(model)) == 1
    arrays = arrays_of(model)
    value, gradient = jax.jit(jax.value_and_grad(loss_of))(model)
    np.testing.assert_allclose(value, loss_by_hand(arrays), rtol=1e-6)
    assert_same_arrays(arrays_of(gradient), jax.grad(loss_by_hand)(arrays), atol=1e-6)

    def untied(input_table, output_table):
        return cross_entropy(logits_by_hand(arrays | {'table': input_table}, output_table), X.mask)

    parts = jax.grad(untied, argnums=(0, 1))(arrays['table'], arrays['table'])
    assert all(np.abs(part).max() > 1e-2 for part in parts)
    np.testing.assert_allclose(arrays_of(gradient)['table'], parts[0] + parts[1], atol=1e-6)


# Two ways to train; both return the trained model and the losses.


def with_plain_jax():
    graphdef, parameters = nnx.split(build(), nnx.Param)
    state = OPTIMIZER.init(parameters)

    @jax.jit
    def train(parameters, state):
        loss, gradient = jax.value_and_grad(lambda p: loss_of(nnx.merge(graphdef, p)))(parameters)
        updates, state = OPTIMIZER.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, loss

    losses = []
    for _ in range(STEPS):
        parameters, state, loss = train(parameters, state)
        losses.append(float(loss))
    return nnx.merge(graphdef, parameters), losses


def with_nnx():
    model = build()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

    @nnx.jit
    def train(model, optimizer):
        loss, gradient = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradient)
        return loss

    return model, [float(train(model, optimizer)) for _ in range(STEPS)]


def by_hand():
    arrays = arrays_of(build())
    state = OPTIMIZER.init(arrays)

    @jax.jit
    def train(arrays, state):
        updates, state = OPTIMIZER.update(jax.grad(loss_by_hand)(arrays), state)
        return optax.apply_updates(arrays, updates), state

    for _ in range(STEPS):
        arrays, state = train(arrays, state)
    return arrays


@pytest.mark.parametrize('trained', [with_plain_jax, with_nnx])
def test_it_stays_tied_in_training(trained):
    model, losses = trained()
    assert losses[-1] < 0.2 * losses[0]
    tables = [leaf for leaf in jax.tree.leaves(model) if leaf.shape == (SYMBOLS, WIDTH)]
    assert len(tables) == 1 and np.abs(tables[0] - arrays_of(build())['table']).min() > 1e-3
    arrays = arrays_of(model)
    assert_same_arrays(arrays, by_hand(), atol=2e-5)
    expected = logits_by_hand(arrays, arrays['table'])
    np.testing.assert_allclose(model.layer(X, training=False).values[X.mask], expected[X.mask], atol=1e-5)
    stream = sl.step_by_step(model, X)
    np.testing.assert_allclose(stream.values[X.mask], expected[X.mask], atol=1e-5)
