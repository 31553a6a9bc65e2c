"""What runs while a picture moves."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def packages_called() -> Iterator[set[str]]:
    """Collects the names of the packages whose functions are called inside."""
    called: set[str] = set()

    def profile(frame, event, argument):
        called.add(frame.f_globals.get('__name__', '').split('.')[0])

    gc.disable()  # JAX has a callback there
    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)
        gc.enable()
