"""Importing is cheap, needs no extras and touches no device."""

import os
import subprocess
import sys

# In CPU time, so that other work on the machine matters little.
BASE = 'import time; begin = time.process_time(); import jax; from flax import nnx; print(time.process_time() - begin)'
OURS = 'import time; begin = time.process_time(); import seqlayers; print(time.process_time() - begin)'


def run(code: str, **env: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'}  # as installed, with bytecode
    done = subprocess.run([sys.executable, '-c', code], env={**kept, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_costs_at_most_a_fifth_more_than_jax_and_flax():
    run(OURS)  # writes the bytecode
    base, ours = [], []
    for _ in range(20):  # the least of several, alternating, as caches are shared; enough once it is under the limit
        base.append(float(run(BASE)))
        ours.append(float(run(OURS)))
        if min(ours) <= 1.2 * min(base):
            return
    raise AssertionError(f'importing takes {min(ours):.2f} s, jax and flax alone {min(base):.2f} s')


def test_import_needs_no_extras():
    extras = {'matplotlib', 'ipywidgets', 'IPython', 'optax', 'soundfile', 'viz', 'pytest', 'hypothesis', 'tensorflow'}
    code = 'import sys, jax, flax.nnx; old = set(sys.modules); import seqlayers; print(*set(sys.modules) - old)'
    assert extras.isdisjoint(run(code).split())


def test_declarations_touch_no_device():
    code = 'import seqlayers as sl; print(sl.Serial([sl.Dense(3), sl.Repeat(sl.LSTM(3), 2)]).receptive_field)'
    assert run(code, JAX_PLATFORMS='no_such_platform').strip() == '(-inf, 0)'
