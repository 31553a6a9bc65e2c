"""The mask rule of every padding mode on one input: where its windows lie, and which inputs decide each output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqlayers as sl
from seqlayers.padding import PADDING_MODES, Padding

LAYERS: dict[str, Callable] = {
    'convolution': lambda k, s, d, padding: sl.Conv1D(1, k, s, d, padding=padding),
    'max_pooling': lambda k, s, d, padding: sl.MaxPooling1D(k, s, d, padding=padding),
    'average_pooling': lambda k, s, d, padding: sl.AveragePooling1D(k, s, d, padding=padding),
}


@dataclass(frozen=True, eq=False, repr=False)
class ModeMask:
    """One padding mode.

    Attributes:
      padding: its name, or two ints (left, right).
      pads: the timesteps that it adds on the left and on the right.
      pads_valid: whether these count as valid.
      rule: 'tap': output i is valid if input i * stride is; 'all' or 'any': if all taps of its window are, or any.
      taps: int `[outputs, kernel_size]`, the input timesteps that each output reads; those outside are padding.
      deciding: int `[outputs, 1 or kernel_size]`, the timesteps whose masks decide.
      mask: bool `[outputs]`, of the layer's output.
      latency: output timesteps before the first real one, in steps.
      input_latency: invalid input timesteps that push out everything valid.
      buffer: input timesteps that a step keeps for the next.
      supports_step: whether it streams.
    """

    padding: Padding
    pads: tuple[int, int]
    pads_valid: bool
    rule: str
    taps: np.ndarray
    deciding: np.ndarray
    mask: np.ndarray
    latency: int
    input_latency: int
    buffer: int
    supports_step: bool

    @property
    def name(self) -> str:
        return self.padding if isinstance(self.padding, str) else f'explicit {self.padding}'


@dataclass(frozen=True, eq=False, repr=False)
class MaskTableTrace:
    """A layer with every padding mode, on one input mask.

    Attributes:
      kernel_size, stride, dilation: of the layer.
      mask: bool `[time]`, of the input.
      modes: one a padding mode.
    """

    kernel_size: int
    stride: int
    dilation: int
    mask: np.ndarray
    modes: tuple[ModeMask, ...]

    def __repr__(self):
        window = f'kernel {self.kernel_size}, stride {self.stride}, dilation {self.dilation}'
        counts = ', '.join(f'{mode.name} {mode.mask.sum()} of {len(mode.mask)}' for mode in self.modes)
        return f'MaskTableTrace({window}; outputs valid: {counts})'


def trace_mask_table(
    kernel_size: int,
    strides: int = 1,
    dilation_rate: int = 1,
    mask: Any = (1, 1, 1, 1, 0, 1, 1, 0),
    modes: Sequence[Padding] = PADDING_MODES,
    *,
    layer: str = 'convolution',
) -> MaskTableTrace:
    """Runs a layer with every padding mode on one mask.

    Args:
      kernel_size, strides, dilation_rate: of the layer.
      mask: bool (or 0 and 1) `(time,)`: which input timesteps are valid.
      modes: paddings: names, or two ints (left, right) that sum to what the kernel spans, less one.
      layer: 'convolution', 'max_pooling' or 'average_pooling'.

    Raises:
      ValueError: there is no such layer, or the mask has another shape.
      LayerError: a size is below 1, or there is no such padding.

    >>> trace_mask_table(3, 2, modes=('causal', 'valid'))
    MaskTableTrace(kernel 3, stride 2, dilation 1; outputs valid: causal 3 of 4, valid 1 of 3)
    """
    if layer not in LAYERS:
        raise ValueError(f'trace_mask_table: there is no layer {layer!r}; choose one of {list(LAYERS)}')
    mask = np.asarray(mask).astype(bool)
    if mask.ndim != 1 or not mask.size:
        raise ValueError(f'trace_mask_table: the mask must have the shape (time,), got {mask.shape}')
    if not modes:
        raise ValueError('trace_mask_table: give at least one padding mode')
    x = sl.Sequence(jnp.zeros((1, len(mask), 1)), jnp.asarray(mask)[None])
    layers = [LAYERS[layer](kernel_size, strides, dilation_rate, padding) for padding in modes]

    @jax.jit  # one compilation for all layers, and of masks alone
    def masks(x: sl.Sequence) -> list[jax.Array]:
        return [layer.build(x.channel_spec, rngs=0).layer(x, training=False).mask[0] for layer in layers]

    traced = map(_mode, layers, modes, map(np.asarray, masks(x)))
    return MaskTableTrace(kernel_size, strides, dilation_rate, mask, tuple(traced))


def _mode(layer: Any, padding: Padding, mask: np.ndarray) -> ModeMask:
    """What the window of a layer says of the mask of its output."""
    window = layer.window
    own = window.stride * np.arange(len(mask))[:, None]
    taps = own - window.left + window.dilation * np.arange(window.kernel_size)
    return ModeMask(
        padding=padding,
        pads=(window.left, window.right),
        pads_valid=window.buffer_mask,
        rule=window.mask_rule,
        taps=taps,
        deciding=own if window.mask_rule == 'tap' else taps,
        mask=mask,
        latency=layer.output_latency,
        input_latency=layer.input_latency,
        buffer=window.buffer,
        supports_step=layer.supports_step,
    )
