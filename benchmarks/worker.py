"""A process that measures one library, on request: `python worker.py ours|published`.

Each line of the input is a request in JSON, a method of `Worker` and its arguments; each is answered by a line with a
number. So two workers take turns, figure by figure, and whatever else the machine does falls on both.
"""
# ruff: noqa: E402 (the clock starts before the imports)

import contextlib
import functools
import importlib.metadata
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

BEGIN = time.perf_counter()

os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import jax.numpy as jnp
import libraries
import numpy as np
from models import MODELS, WIDTH

CHECKED = 32  # timesteps that must be the same in both libraries


class Worker:
    """The methods from `import_seconds` on are the figures. `size` counts timesteps."""

    def __init__(self, name: str):
        self.sl, self.face = libraries.load(name)
        self._import = time.perf_counter() - BEGIN

    def versions(self) -> str:
        names = ('jax', 'flax', 'numpy', 'sequence_layers')
        found = {d.name.replace('-', '_'): d.version for d in importlib.metadata.distributions()}
        return ', '.join(f'{name} {found[name]}' for name in names if name in found)

    def declare(self, model: str, arguments: dict) -> None:
        """Turns to a model of `models.py`."""
        self.model = self.face(self.sl, MODELS[model](self.sl, **arguments))
        self._layer, self._step = jax.jit(self.model.layer), jax.jit(self.model.step, donate_argnums=2)

    def check(self, path: str) -> None:
        """The same weights, and the same outputs, from `layer` and from steps.

        The first process, of this library, writes them to the file; the other reads them.
        """
        x = self._input(CHECKED)
        if os.path.exists(path):
            with np.load(path) as data:
                stored = dict(data)
            expected = stored.pop('outputs')
            self.model.load(stored, x)
        else:
            self.model.build(x)
            expected = np.asarray(self._layer(self.model.weights, x).values)
            np.savez(path, outputs=expected, **self.model.save())
        state, parts = self._new_state(x), []
        for t in range(CHECKED):
            y, state = self._step(self.model.weights, x[:, t : t + 1], state)
            parts.append(y.values)
        for found in (self._layer(self.model.weights, x).values, np.concatenate(parts, 1)):
            difference = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
            if not difference < 1e-4:
                raise SystemExit(f'the outputs differ by {difference:.2g} of the largest: nothing is compared')

    # --- figures, in seconds or bytes ---------------------------------------------------------------------------
    def import_seconds(self) -> float:
        """Of the library with JAX and Flax."""
        return self._import

    def build(self) -> float:
        x = self._input(CHECKED)  # whose first random numbers are compiled too
        return _once(lambda: (self.model.build(x), self.model.weights)[1])

    def eager_layer(self, size: int) -> float:
        x = self._input(size)
        return _median(lambda: self.model.layer(self.model.weights, x).values)

    def eager_step(self, size: int = 1) -> float:
        x, state = self._input(size), self.model.initial_state(self._input(size))
        return _median(lambda: self.model.step(self.model.weights, x, state)[0].values)

    def trace_and_compile(self, size: int = 1) -> float:
        x = self._input(size)
        given = self.model.weights, x, self.model.initial_state(x)
        step = jax.jit(lambda *given: self.model.step(*given))  # a new function, or the trace would be reused
        return _once(lambda: step.lower(*given).compile() and ())

    def compiled_layer(self, size: int, batch: int = 1) -> float:
        x = self._input(size, batch)
        return _median(lambda: self._layer(self.model.weights, x).values)

    def compiled_gradient(self, size: int, batch: int = 1) -> float:
        x = self._input(size, batch)
        gradient = jax.jit(jax.grad(lambda weights: (self.model.layer(weights, x).values ** 2).sum()))
        return _median(lambda: gradient(self.model.weights))

    def compiled_step(self, size: int = 1, batch: int = 1) -> float:
        return self._stepping(self._step, self.model.weights, self._input(size, batch))

    def module_step(self, size: int = 1) -> float:
        """A compiled step that takes the module itself as its argument."""
        step = jax.jit(lambda model, x, state: model.step(x, state, training=False), donate_argnums=2)
        return self._stepping(step, self.model.model, self._input(size))

    def push(self, size: int = 1, batch: int = 1) -> float:
        stream = self.sl.Stream(self.model.model, batch, block_size=size)
        chunk = np.asarray(self._input(size, batch).values)
        return _median(lambda: stream.push(chunk).values)

    def layer_temporaries(self, size: int) -> int:
        compiled: Any = self._layer.lower(self.model.weights, self._input(size)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def weight_bytes(self) -> int:
        return _bytes(self.model.weights)

    def state_bytes(self, batch: int = 1) -> int:
        return _bytes(self.model.initial_state(self._input(1, batch)))

    def peak_memory(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    # --- the machine ---------------------------------------------------------------------------------------------
    def bandwidth(self, size: int) -> float:
        """Bytes a second at which a matrix of so many bytes is read, by its product with a vector."""
        matrix, vector = jnp.ones((max(1, size // 4096), 1024)), jnp.ones(1024)
        product = jax.jit(jnp.matmul)
        return matrix.nbytes / _median(lambda: product(matrix, vector), statistic=min)

    def operations(self) -> float:
        """Operations a second of a large product of matrices."""
        matrix = jnp.ones((1024, 1024))
        product = jax.jit(jnp.matmul)
        return 2 * 1024**3 / _median(lambda: product(matrix, matrix), statistic=min)

    # --- how ---------------------------------------------------------------------------------------------------
    def _input(self, size: int, batch: int = 1):
        return _noise(self.sl, batch, size)

    def _new_state(self, x):
        """To be donated: some initial states hold an array twice."""
        return jax.tree.map(jnp.copy, self.model.initial_state(x))

    def _stepping(self, step, weights, x) -> float:
        state = self._new_state(x)

        def run():
            nonlocal state
            y, state = step(weights, x, state)
            return y.values

        return _median(run)


@functools.cache
def _noise(sl, batch: int, size: int):
    return sl.Sequence.from_values(jax.random.normal(jax.random.key(1), (batch, size, WIDTH)))


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _once(run) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def _median(run, statistic: Callable = statistics.median) -> float:
    """Over 3 to 200 repetitions in some 0.3 s, after one that is not counted."""
    _once(run)
    times = [_once(run) for _ in range(3)]
    while len(times) < 200 and sum(times) < 0.3:
        times.append(_once(run))
    return statistic(times)


def main() -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        worker = Worker(sys.argv[1])
        for line in sys.stdin:
            what, arguments = json.loads(line)
            print(json.dumps(getattr(worker, what)(**arguments)), file=answers, flush=True)


if __name__ == '__main__':
    main()
