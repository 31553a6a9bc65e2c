"""What the computation runs on, where another device takes another way."""

import functools
import importlib

import jax

TENSOR_CORE_ROWS = 16  # the least number of rows that one multiplies


def beside_ampere() -> bool:
    """Whether arrays are by default on an NVIDIA GPU of the Ampere generation or later.

    What is traced beside one may still be compiled for another platform: choose by `lax.platform_dependent`. Kernels of
    Pallas have no stable form to export: export `with jax.default_device('cpu')`, which takes the plain ways.
    """
    # None, the name of a platform, or a device. JAX makes the attributes of its configuration when it starts.
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    device = chosen if isinstance(chosen, jax.Device) else jax.devices(chosen)[0]
    is_nvidia = device.platform == 'gpu' and device.device_kind.startswith('NVIDIA')
    return is_nvidia and float(device.compute_capability) >= 8


def is_alone(*arrays: jax.Array) -> bool:
    """Whether one such GPU has all arrays: kernels cannot be partitioned, and over a mesh each would gather all."""
    over_none = jax.sharding.get_abstract_mesh().empty and all(jax.typeof(a).sharding.mesh.empty for a in arrays)
    return over_none and beside_ampere()


@functools.cache
def has_triton() -> bool:
    """Whether Pallas still has its module for Triton, which JAX 0.12 says will go. To be asked last: it takes long."""
    try:
        importlib.import_module('jax.experimental.pallas.triton')
    except ModuleNotFoundError:
        return False
    return True
