"""What one library takes on the CPU, measured in a process of its own: `python worker.py ours|published FILE`.

Prints a JSON dict of seconds. FILE holds weights and an output: the first run, of this library, writes them; all others
check that they compute the same.
"""

import json
import os
import statistics
import sys
import time

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import jax.numpy as jnp
import numpy as np
from conformer import FEATURES, FRAMES, conformer

BLOCKS_OF = (1, 4, 16, 64)


def import_library(name: str):
    """The library, and how long its import takes beyond JAX and Flax."""
    import flax.nnx  # noqa: F401

    if name == 'published':
        _stand_in_for_recurrentgemma()
    start = time.perf_counter()
    if name == 'ours':
        import seqlayers as sl
    else:
        import sequence_layers.jax as sl
    return sl, time.perf_counter() - start


def _stand_in_for_recurrentgemma() -> None:
    """The published library imports it for one layer that is not used here, and it fails with this JAX."""
    from unittest import mock

    for module in ('', '.jax', '.jax.complex_lib', '.jax.scan', '.jax.layers', '.common'):
        sys.modules[f'recurrentgemma{module}'] = mock.MagicMock()


class Ours:
    def __init__(self, sl, x):
        self.sl = sl
        self.model = conformer(sl).make().build(x.channel_spec, rngs=0)

    def weights(self):
        return self.sl.interop.to_published(self.model)

    def load(self, weights):
        self.model = self.sl.interop.load_published(self.model, weights)

    @property
    def parameters(self):
        return self.model

    def layer(self, model, x):
        return model.layer(x, training=False)

    def initial_state(self, model, x):
        return model.get_initial_state(x.shape[0], training=False)

    def step(self, model, x, state):
        return model.step(x, state, training=False)


class Published:
    def __init__(self, sl, x):
        self.module = conformer(sl).make()
        self.parameters = self.module.init(jax.random.key(0), x, training=False, method='layer')

    def load(self, weights):
        self.parameters = weights

    def layer(self, parameters, x):
        return self.module.apply(parameters, x, training=False, method='layer')

    def initial_state(self, parameters, x):
        spec = x.channel_spec
        return self.module.apply(parameters, x.shape[0], spec, training=False, method='get_initial_state')

    def step(self, parameters, x, state):
        return self.module.apply(parameters, x, state, training=False, method='step')


def seconds(run, repetitions: int) -> float:
    """The median over repetitions, of which the first is not counted."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def timed(run):
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return result, time.perf_counter() - start


def measure(name: str, path: str) -> dict[str, float]:
    sl, importing = import_library(name)
    found = {'import': importing}
    x = sl.Sequence.from_values(jax.random.normal(jax.random.key(1), (1, FRAMES, FEATURES)))
    library = Ours if name == 'ours' else Published
    start = time.perf_counter()
    model = library(sl, x)
    jax.block_until_ready(jax.tree.leaves(model.parameters))
    found['build'] = time.perf_counter() - start
    _same_numbers(model, x, path)
    parameters = model.parameters
    state = model.initial_state(parameters, x)
    one = x[:, :1]
    found['eager layer, 200 frames'] = seconds(lambda: _values(model.layer(parameters, x)), 3)
    found['eager step'] = seconds(lambda: _values(model.step(parameters, one, state)[0]), 3)
    _, found['trace and compile a step'] = timed(lambda: jax.jit(model.step).lower(parameters, one, state).compile())
    layer = jax.jit(model.layer)
    found['compiled layer, 200 frames'] = seconds(lambda: _values(layer(parameters, x)), 20)
    for block in BLOCKS_OF:
        step, held = jax.jit(model.step, donate_argnums=2), [jax.tree.map(jnp.copy, state)]

        def run(step=step, held=held, part=x[:, :block]):
            y, held[0] = step(parameters, part, held[0])
            return _values(y)

        found[f'compiled step of {block}'] = seconds(run, 200)
        if name == 'ours':
            stream = sl.Stream(parameters, block_size=block)
            chunk = np.asarray(x.values[:, :block])
            found[f'Stream.push of {block}'] = seconds(lambda s=stream, c=chunk: s.push(c).values, 200)
    return found


def _values(y):
    return y.values


def _same_numbers(model, x, path: str) -> None:
    if not os.path.exists(path):
        weights = model.weights()
        np.savez(path, y=np.asarray(model.layer(model.parameters, x).values), **_flat(weights))
        return
    with np.load(path) as data:
        stored = {key: data[key] for key in data.files}
    expected = stored.pop('y')
    model.load(_nested(stored))
    difference = np.abs(np.asarray(model.layer(model.parameters, x).values) - expected).max()
    if not difference < 1e-4 * np.abs(expected).max():
        raise SystemExit(f'the outputs differ by {difference}: nothing is compared')


def _flat(tree, path=''):
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f'{path}{key}/').items()}
    return {path[:-1]: np.asarray(tree)}


def _nested(flat):
    tree = {}
    for path, value in flat.items():
        *levels, name = path.split('/')
        node = tree
        for level in levels:
            node = node.setdefault(level, {})
        node[name] = jnp.asarray(value)
    return tree


if __name__ == '__main__':
    print(json.dumps(measure(*sys.argv[1:])))
