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


def runs_kernels(*arrays: jax.Array) -> bool:
    """Whether Pallas' kernels can run: they cannot be partitioned, and over a mesh every device would gather all."""
    is_alone = jax.sharding.get_abstract_mesh().empty and all(jax.typeof(a).sharding.mesh.empty for a in arrays)
    return is_alone and beside_ampere() and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """Whether Pallas still has its way to Triton, which JAX 0.12 says will go. Without it the plain ways are taken."""
    try:
        importlib.import_module('jax.experimental.pallas.triton')
    except ImportError:
        return False
    return True
