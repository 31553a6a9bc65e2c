"""Measures one library on a GPU and prints a row of JSON for each figure: `python gpu_worker.py NAME FOLDER`.

NAME is `ours`, `published` or `pytorch`. The first writes weights and outputs to FOLDER; the others must compute the
same from them.
"""

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

WIDTH, HIDDEN, LAYERS = 1024, 4096, 12
WINDOWS, BATCHES, TOKENS = (256, 1024, 4096, 16384), (1, 32), 64
BATCH, LENGTH, WINDOW = 8, 2048, 1024  # of whole sequences
CHECKED = {'window': 8, 'layers': 2}
TOLERANCE = 0.05  # of values around 1 behind two layers in bfloat16


def row(table: str, what: str, **figures: float | str | None) -> None:
    print(json.dumps({'table': table, 'what': what, **figures}), flush=True)


@contextlib.contextmanager
def out_of_memory(table: str, what: str, **at: float | str) -> Iterator[None]:
    """Says so in a row of the table, and goes on."""
    try:
        yield
    except Exception as error:
        if 'RESOURCE_EXHAUSTED' not in str(error) and 'out of memory' not in str(error):
            raise
        row(table, what, **at, failed='out of memory')


def least(run: Callable[[], None], times: int = 6, enough: float = 1.0, most: float = 5.0) -> float:
    """Milliseconds of the fastest of some runs, each of which waits for the device; the first is not counted.

    There are at least so many, and `enough` seconds of them, in which a GPU that has rested finds its pace; but no more
    after `most` seconds.
    """
    run()
    seconds = []
    while sum(seconds) < most and (len(seconds) < times or sum(seconds) < enough):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return 1e3 * min(seconds)


class OfJax:
    """This library, and the published one."""

    def __init__(self, name: str):
        import jax
        import libraries
        from models import MODELS

        self.name, self.jax, self.models = name, jax, MODELS
        self.sl, self.face = libraries.load(name)

    def versions(self) -> dict:
        from importlib.metadata import version

        library = 'seqlayers' if self.name == 'ours' else 'sequence_layers ' + version('sequence_layers')
        device = self.jax.devices()[0].device_kind
        return {'library': library, 'jax': self.jax.__version__, 'flax': version('flax'), 'device': device}

    def _input(self, batch: int, time: int, dtype: str = 'bfloat16'):
        values = np.random.default_rng(0).normal(size=(batch, time, WIDTH))
        return self.sl.Sequence(self.jax.numpy.asarray(values, dtype), self.jax.numpy.ones((batch, time), bool))

    def _built(self, model: str, x, **arguments):
        built = self.face(self.sl, self.models[model](self.sl, **arguments))
        built.build(x)
        return built

    def check(self, path: Path) -> None:
        x = self._input(2, 24)
        model = self._built('decoder', x, **CHECKED)
        if path.exists():
            with np.load(path) as stored:
                weights = {key: stored[key].astype('bfloat16') for key in stored if key not in ('layer', 'step')}
                wanted = {key: stored[key] for key in ('layer', 'step')}
            model.load(weights, x)
        state = model.initial_state(x)
        steps = []
        for i in range(x.shape[1]):
            y, state = self.jax.jit(model.step)(model.weights, x[:, i : i + 1], state)
            steps.append(np.asarray(y.values, np.float32))
        found = {
            'layer': np.asarray(self.jax.jit(model.layer)(model.weights, x).values, np.float32),
            'step': np.concatenate(steps, axis=1),
        }
        if path.exists():
            for key, value in found.items():
                must_be_close(self.name, key, value, wanted[key])
        else:
            must_be_close(self.name, 'step', found['step'], found['layer'])
            weights = {key: np.asarray(value, np.float32) for key, value in model.save().items()}
            np.savez(path, **{**found, **weights})  # pyright: ignore[reportArgumentType]

    def decode(self) -> None:
        for batch in BATCHES:
            for window in WINDOWS:
                at = {'batch': batch, 'window': window}
                with out_of_memory('decode', self.name, **at):
                    row('decode', self.name, **at, milliseconds=self._decode(batch, window))

    def _decode(self, batch: int, window: int) -> float:
        jax, x = self.jax, self._input(batch, 1)
        model = self._built('decoder', x, window=window, layers=LAYERS)
        if self.name == 'ours':
            from seqlayers.combinators.unstack import unstack  # as Stream and StreamPool do

            model.use(unstack(model.model))

        @functools.partial(jax.jit, donate_argnums=1)
        def run(weights, state, x):
            def token(carry, _):
                x, state = carry
                y, state = model.step(weights, x, state)
                return (self.sl.Sequence(y.values, y.mask), state), None

            return jax.lax.scan(token, (x, state), None, length=TOKENS)[0]

        carry = [run(model.weights, model.initial_state(x), x)]

        def again() -> None:
            y, state = carry.pop()
            carry.append(jax.block_until_ready(run(model.weights, state, y)))

        return least(again) / TOKENS

    def layer(self) -> None:
        variants = {'repeated': {}}
        if self.name == 'ours':
            variants = {'unrolled': {'unroll_layer': True}, 'repeated': {}, 'recomputed': {'remat': True}}
        x = self._input(BATCH, LENGTH)
        for variant, repeat in variants.items():
            model = self._built('decoder', x, window=WINDOW, layers=LAYERS, **repeat)
            self._forward_and_gradient('layer', model, x, variant=variant)

    def mixers(self) -> None:
        x = self._input(BATCH, LENGTH, 'float32')
        for name in ('lstm', 'rglru'):
            self._forward_and_gradient('mixers', self._built(name, x, width=WIDTH), x, variant=name)

    def _forward_and_gradient(self, table: str, model, x, variant: str) -> None:
        jax, jnp = self.jax, self.jax.numpy

        def loss(weights, x):
            return (model.layer(weights, x).values.astype(jnp.float32) ** 2).mean()

        for what, function in (('forward', model.layer), ('gradient', jax.grad(loss))):
            at = {'variant': variant, 'pass': what}
            with out_of_memory(table, self.name, **at):
                run = jax.jit(function).lower(model.weights, x).compile()
                memory = run.memory_analysis()
                total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
                milliseconds = least(lambda run=run: jax.block_until_ready(run(model.weights, x)))
                row(table, self.name, **at, milliseconds=milliseconds, gigabytes=total / 1e9)


def must_be_close(name: str, what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    difference = float(np.abs(found - wanted).max())
    print(f'{name}, {what}: differs by at most {difference:.3g}', file=sys.stderr, flush=True)
    if not difference <= TOLERANCE * float(np.abs(wanted).max()):
        raise SystemExit(f'{name} computes something else in {what}: it differs by {difference}')


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == 'pytorch':
        from gpu_pytorch import OfPyTorch

        library = OfPyTorch()
    else:
        os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.95')
        library = OfJax(name)
    row('versions', name, **library.versions())
    library.check(folder / 'decoder.npz')
    library.decode()
    library.layer()
    library.mixers()


if __name__ == '__main__':
    main()
