"""A small training run: everything that its next step reads, in one object."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import seqlayers as sl

LEARNING_RATE = 0.03
# One of each for all runs: compiled steps are kept by them.
_DECLARATION = sl.Serial(
    [sl.Conv1D(8, 3, padding='causal'), sl.BatchNormalization(momentum=0.5), sl.Relu(), sl.Dropout(0.5), sl.Dense(1)]
)
_ADAM = optax.adam(LEARNING_RATE)


class TrainingRun:
    """A model that learns to tell the sum of its last three inputs, with dropout and batch statistics.

    Attributes:
      model: its variables are weights (`nnx.Param`) and batch statistics (`nnx.BatchStat`).
      optimizer: Adam, with its moments.
      key: the random key; each step splits it.
      position: how many batches have been read.
    """

    def __init__(self):
        self.model = _DECLARATION.build(sl.ChannelSpec((2,)), rngs=0)
        self.optimizer = nnx.Optimizer(self.model, _ADAM, wrt=nnx.Param)
        self.key = jax.random.key(0)
        self.position = 0

    def step(self) -> float:
        """Learns from the next batch; returns its loss."""
        x, target = batch(self.position)
        self.position += 1
        self.key, key = jax.random.split(self.key)
        return float(_train(self.model, self.optimizer, x, target, key))

    def evaluate(self) -> float:
        """The loss on held-out data, with running averages and without dropout."""
        return float(_evaluate(self.model, *batch(-1)))


@cache
def batch(position: int) -> tuple[sl.Sequence, np.ndarray]:
    """Clips of unequal length, and what to predict; position -1 is held out."""
    draw = np.random.default_rng(position + 1)
    values = draw.standard_normal((4, 8, 2)).astype(np.float32)
    windows = np.pad(values, ((0, 0), (2, 0), (0, 0)))
    target = windows[:, 2:] + windows[:, 1:-1] + windows[:, :-2]
    return sl.Sequence.from_lengths(values, draw.integers(3, 9, 4)), target.sum(-1)


def _loss(y: sl.Sequence, target: jax.Array) -> jax.Array:
    return jnp.where(y.mask, (y.values[..., 0] - target) ** 2, 0).sum() / y.mask.sum()


@nnx.jit
def _train(model, optimizer, x, target, key):
    def loss(model):
        return _loss(model.layer(x, training=True, rng=key), target)

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


@nnx.jit
def _evaluate(model, x, target):
    return _loss(model.layer(x, training=False), target)
