"""Both libraries behind one face: build, weights in and out, and `layer` and `step` as functions of the weights."""

import functools
import sys
import types
from typing import Any

import jax
from flax import traverse_util


class Ours:
    """`weights` is the list of a model's arrays, as `sl.Stream` holds them: a module as argument is slower."""

    def __init__(self, sl, declaration):
        self.sl, self.declaration = sl, declaration.make()

    def build(self, x):
        self.use(self.declaration.build(x.channel_spec, rngs=0))

    def use(self, model):
        self.model = model
        self.weights, self._structure = jax.tree.flatten(model)

    def save(self) -> dict:
        return traverse_util.flatten_dict(self.sl.interop.to_published(self.model), sep='/')

    def load(self, weights: dict, x):
        self.build(x)
        self.use(self.sl.interop.load_published(self.model, weights))

    def layer(self, weights, x):
        return jax.tree.unflatten(self._structure, weights).layer(x, training=False)

    def initial_state(self, x):
        return self.model.get_initial_state(x.shape[0], training=False)

    def step(self, weights, x, state):
        return jax.tree.unflatten(self._structure, weights).step(x, state, training=False)


class Published:
    """`weights` is the dict of variables that Flax's `init` returns."""

    def __init__(self, sl, declaration):
        self.module = declaration.make()
        self._apply = functools.partial(self.module.apply, training=False)

    def build(self, x):
        self.weights = self.module.init(jax.random.key(0), x, training=False, method='layer')

    def load(self, weights: dict, x):
        self.weights = jax.device_put(traverse_util.unflatten_dict(weights, sep='/'))

    def layer(self, weights, x):
        return self._apply(weights, x, method='layer')

    def initial_state(self, x):
        return self._apply(self.weights, x.shape[0], x.channel_spec, method='get_initial_state')

    def step(self, weights, x, state):
        return self._apply(weights, x, state, method='step')


def load(name: str) -> tuple[Any, Any]:
    """The library as a module, and its face here."""
    if name == 'ours':
        import seqlayers

        return seqlayers, Ours
    # Its dependency recurrentgemma asks for a module that this JAX no longer has, for a kernel that no CPU runs.
    missing = 'jax._src.lax.control_flow.for_loop'
    sys.modules.setdefault(missing, types.ModuleType(missing))
    import sequence_layers.jax as published  # pyright: ignore[reportMissingImports]

    return published, Published
