"""Cutting arrays into overlapping windows, and adding windows up again. Nothing is scattered."""

import math

import jax
import jax.numpy as jnp


def frames(values: jax.Array, length: int, step: int, dilation: int = 1) -> jax.Array:
    """All whole windows along axis 1: `(batch, time, ...) -> (batch, count, length, ...)`.

    Window i holds timesteps `i * step + j * dilation`.
    """
    batch, time, *channels = values.shape
    # One gather of whole runs of timesteps: windows begin and end at multiples of the common divisor.
    run = math.gcd(length, step) if dilation == 1 else 1
    starts = step // run * jnp.arange((time - (length - 1) * dilation - 1) // step + 1)
    index = starts[:, None] + dilation * jnp.arange(length // run)
    runs = values[:, : time // run * run].reshape(batch, time // run, run, *channels)
    return jnp.take(runs, index, axis=1, mode='clip').reshape(batch, starts.shape[0], length, *channels)


def overlap_and_add(values: jax.Array, step: int) -> jax.Array:
    """The sum of frames that lie `step` apart.

    Shapes: `(batch, count, length, ...) -> (batch, max(0, (count - 1) * step + length), ...)`.

    Nothing is scattered: cut into pieces of `step`, piece r of frame i stands at i + r.
    """
    batch, count, length, *channels = values.shape
    pieces = -(-length // step)
    pad = [(0, 0)] * values.ndim
    pad[1:3] = (0, pieces), (0, pieces * step - length)
    rows = jnp.pad(values, pad).reshape(batch, count + pieces, pieces, step, *channels)
    # A row of count + pieces entries read as rows of one entry less moves each row right by its number.
    rows = jnp.swapaxes(rows, 1, 2).reshape(batch, (count + pieces) * pieces, step, *channels)
    rows = rows[:, : (count + pieces - 1) * pieces]
    y = rows.reshape(batch, pieces, count + pieces - 1, step, *channels).sum(axis=1)
    y = y.reshape(batch, (count + pieces - 1) * step, *channels)
    return y[:, : max(0, (count - 1) * step + length)]
