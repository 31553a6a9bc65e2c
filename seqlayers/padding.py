"""Padding modes, one table for convolution, pooling and framing, and the algebra of windows in time.

A kernel of k taps that lie `dilation` apart spans ek = (k - 1) * dilation + 1 timesteps; s is the stride.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import Literal, NamedTuple

from seqlayers.intervals import IntervalSet
from seqlayers.timing import Timing

Padding = str | tuple[int, int]
MaskRule = Literal['tap', 'all', 'any']


class _Mode(NamedTuple):
    pads: Callable[[int, int], tuple[int, int]]  # (ek, s) -> (left, right)
    mask_rule: MaskRule
    flush: Callable[[int, int], int]  # (left, right) -> input latency; published where there is one


_MODES = {
    'valid': _Mode(lambda ek, s: (0, 0), 'all', lambda left, right: 0),
    'same': _Mode(lambda ek, s: ((ek - 1) // 2, ek // 2), 'tap', lambda left, right: right),
    'causal_valid': _Mode(lambda ek, s: (ek - 1, 0), 'all', lambda left, right: 0),
    'reverse_causal_valid': _Mode(lambda ek, s: (0, ek - 1), 'all', lambda left, right: right),
    'causal': _Mode(lambda ek, s: (ek - 1, 0), 'tap', lambda left, right: 0),
    'reverse_causal': _Mode(lambda ek, s: (0, ek - 1), 'tap', lambda left, right: right),
    'semicausal': _Mode(lambda ek, s: (max(ek - s, 0), min(ek, s) - 1), 'tap', lambda left, right: 0),
    'semicausal_full': _Mode(lambda ek, s: (max(ek - s, 0), ek - 1), 'any', lambda left, right: left),
}
PADDING_MODES = tuple(_MODES)
TRANSPOSED_PADDING_MODES = ('valid', 'same', 'causal', 'semicausal_full')


def validate_padding(padding: Padding, modes: tuple[str, ...] = PADDING_MODES, allow_explicit: bool = False) -> Padding:
    """Returns the padding if it is one of `modes` or, where allowed, two ints (left, right) >= 0.

    Raises:
      ValueError: it is neither.
    """
    match padding:
        case str() if padding in modes:
            return padding
        case (int(left), int(right)) if allow_explicit and min(left, right) >= 0:
            return left, right
    choices = ', '.join(map(repr, modes)) + (', or two ints (left, right) >= 0' if allow_explicit else '')
    raise ValueError(f'padding must be one of {choices}; got {padding!r}.')


def pads(padding: Padding, kernel_size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """The timesteps (or pixels) to pad on the left and on the right."""
    effective = (kernel_size - 1) * dilation + 1
    return _MODES[padding].pads(effective, stride) if isinstance(padding, str) else padding


def output_length(length: int, padding: Padding, kernel_size: int, stride: int = 1, dilation: int = 1) -> int:
    """The number of windows over `length` timesteps (or pixels)."""
    effective = (kernel_size - 1) * dilation + 1
    return -(-max(0, length + sum(pads(padding, kernel_size, stride, dilation)) - (effective - 1)) // stride)


@dataclass(frozen=True)
class _Kernel:
    kernel_size: int
    stride: int
    dilation: int
    padding: Padding

    def __post_init__(self):
        for name in ('kernel_size', 'stride', 'dilation'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1; got {getattr(self, name)}.')

    @property
    def effective(self) -> int:
        """Timesteps from the first tap to the last, both included (ek)."""
        return (self.kernel_size - 1) * self.dilation + 1


@dataclass(frozen=True)
class Window(_Kernel):
    """A window that slides over time, as a whole-sequence operation and in steps.

    Window i covers the input timesteps i * s - left to i * s - left + ek - 1. In steps it waits for the last
    of them: a step of n * s inputs appends them to a buffer of the last `buffer` inputs, and its n windows
    start at positions 0, s, 2 * s, ... of the two together.

    Raises:
      ValueError: padding is unknown; or it is explicit and does not sum to ek - 1, so that output i would not
        belong to input i * s; or a size is below 1.
    """

    def __post_init__(self):
        super().__post_init__()
        validate_padding(self.padding, allow_explicit=True)
        if not isinstance(self.padding, str) and sum(self.padding) != self.effective - 1:
            raise ValueError(
                f'Explicit padding in time must sum to {self.effective - 1}, one less than the kernel spans; '
                f'got {self.padding}.'
            )

    @property
    def left(self) -> int:
        return pads(self.padding, self.kernel_size, self.stride, self.dilation)[0]

    @property
    def right(self) -> int:
        return pads(self.padding, self.kernel_size, self.stride, self.dilation)[1]

    @property
    def future(self) -> int:
        """The last input timestep of window i, relative to i * stride."""
        return self.effective - 1 - self.left

    @property
    def latency(self) -> int:
        """Output timesteps before the first real output."""
        return self.future // self.stride

    @property
    def input_latency(self) -> int:
        """Invalid input timesteps that push out everything valid."""
        return self._mode.flush(self.left, self.right)

    @property
    def buffer(self) -> int:
        """Input timesteps to keep from one step to the next."""
        unread = (self.stride - 1 - self.future) % self.stride  # newest inputs, which no window reaches yet
        return max(0, self.effective - self.stride + unread)

    @property
    def mask_rule(self) -> MaskRule:
        """Output i is valid iff input i * s is (position `left` of its window), or all its taps, or any."""
        return self._mode.mask_rule

    @property
    def buffer_mask(self) -> bool:
        """The mask of the padding, of the initial buffer, and of void inputs."""
        return self.padding == 'causal_valid'

    @property
    def told_offset(self) -> bool:
        """Whether steps need the offset: padding that counts as valid must be told from void inputs."""
        return self.buffer_mask

    def output_length(self, length: int) -> int:
        return output_length(length, self.padding, self.kernel_size, self.stride, self.dilation)

    @cached_property
    def timing(self) -> Timing:
        return Timing(
            output_ratio=Fraction(1, self.stride),
            input_latency=self.input_latency,
            output_latency=self.latency,
            receptive_field=self._taps if self.dilation > 1 else (-self.left, self.future),
        )

    @property
    def _mode(self) -> _Mode:
        return _MODES[self.padding if isinstance(self.padding, str) else 'same']  # explicit is like 'same'

    def _taps(self, output: int) -> IntervalSet:
        start = output * self.stride - self.left
        return IntervalSet.points(range(start, start + self.effective, self.dilation))


@dataclass(frozen=True)
class TransposedWindow(_Kernel):
    """The transpose of a sliding window: input i is spread over the ek outputs from i * s on; all are summed.

    The sum of T inputs has T * s outputs, and then `overlap` more. `causal` keeps the former, `valid` all,
    `same` the T * s after half the overlap, `semicausal_full` the T * s after all of it, which makes it the
    transpose of a window of that padding. (In the published library, the transposed convolution of that padding
    drops s - 1 outputs instead, and has T * s of them only if ek = 2 * s - 1.)

    Raises:
      ValueError: padding is not one of TRANSPOSED_PADDING_MODES, or a size is below 1.
    """

    def __post_init__(self):
        super().__post_init__()
        validate_padding(self.padding, TRANSPOSED_PADDING_MODES)

    @property
    def overlap(self) -> int:
        """Output timesteps that later inputs still add to; the length of the buffer of sums in steps."""
        return max(self.effective - self.stride, 0)

    @property
    def latency(self) -> int:
        """Output timesteps of the sum that are dropped at the start. In steps they come out, masked."""
        if self.padding == 'same':
            return self.overlap // 2
        return self.overlap if self.padding == 'semicausal_full' else 0

    @property
    def input_latency(self) -> int:
        """Invalid input timesteps that push out everything valid."""
        return -(-self.latency // self.stride)

    @property
    def left(self) -> int:
        """Padding for a correlation of stride 1 with the input, s - 1 zeros between its timesteps."""
        return self.effective - 1 - self.latency

    @property
    def right(self) -> int:
        """Padding on the other side."""
        return self.stride - 1 + self.latency + self._tail

    @property
    def mask_rule(self) -> Literal['repeat', 'all', 'any']:
        """Output o is valid iff input o // s is, or that and all inputs that add to o are, or any that adds.

        For 'all', inputs before time 0 (padding and void) do not count, and inputs past the end are invalid. For
        'any', steps mask the outputs that `layer` drops at the start, by the clock.
        """
        if self.overlap and self.padding == 'valid':
            return 'all'
        return 'any' if self.overlap and self.padding == 'semicausal_full' else 'repeat'

    @property
    def told_offset(self) -> bool:
        """Whether steps need the offset."""
        return self.mask_rule != 'repeat'

    def output_length(self, length: int) -> int:
        return length * self.stride + self._tail

    @cached_property
    def timing(self) -> Timing:
        return Timing(
            output_ratio=self.stride,
            input_latency=self.input_latency,
            output_latency=self.latency,
            receptive_field=self._sources,
        )

    @property
    def _tail(self) -> int:
        return self.overlap if self.padding == 'valid' else 0

    def _sources(self, output: int) -> IntervalSet:
        taps = range(output - self.left, output - self.left + self.effective, self.dilation)
        return IntervalSet.points(tap // self.stride for tap in taps if tap % self.stride == 0)


@cache
def window(kernel_size: int, stride: int, dilation: int, padding: Padding) -> Window:
    """The Window of these arguments, made once."""
    return Window(kernel_size, stride, dilation, padding)


@cache
def transposed_window(kernel_size: int, stride: int, dilation: int, padding: str) -> TransposedWindow:
    """The TransposedWindow of these arguments, made once."""
    return TransposedWindow(kernel_size, stride, dilation, padding)
