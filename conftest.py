"""The environment of every test, doctest and notebook. Set here, before anything imports JAX."""

import os
from pathlib import Path

CACHE = Path(__file__).parent / '.cache' / 'jax'

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Most of the suite's time is compilation, and most of what it compiles it has compiled before.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
