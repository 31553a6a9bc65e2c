"""Axes as hyper-parameters. They count batch (0) and time (1), so the first channel axis is 2."""

from collections.abc import Sequence

from seqlayers.context import LayerError


def channel_axes(axis: int | Sequence[int], channel_shape: tuple[int, ...]) -> tuple[int, ...]:
    """`axis` as sorted distinct axes of `(batch, time, *channel_shape)`; negative ones count from the end.

    Raises:
      LayerError: an axis does not exist, or is batch or time.
    """
    rank = 2 + len(channel_shape)
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = {a + rank if a < 0 else a for a in given}
    if not all(2 <= a < rank for a in axes):
        valid = f'2 to {rank - 1}, or -1 to {2 - rank}' if channel_shape else 'none'
        raise LayerError(f'axis {axis} must name axes of the channels {channel_shape}. Valid: {valid}')
    return tuple(sorted(axes))


def channel_axis(axis: int, channel_shape: tuple[int, ...]) -> int:
    """One such axis."""
    (found,) = channel_axes(axis, channel_shape)
    return found
