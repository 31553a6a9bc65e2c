"""What the computation runs on, where an other device takes another way."""

import jax


def beside_ampere() -> bool:
    """Whether arrays are by default on an NVIDIA GPU of the Ampere generation or later.

    What is traced beside one may still be compiled for another platform: choose by `lax.platform_dependent`.
    """
    device = jax.devices()[0]
    is_nvidia = device.platform == 'gpu' and device.device_kind.startswith('NVIDIA')
    return is_nvidia and float(device.compute_capability) >= 8
