"""Sequences: values, and a mask that says which of their timesteps exist."""

import dataclasses
import operator
from collections.abc import Callable, Iterable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


@dataclasses.dataclass(frozen=True)
class ChannelSpec:
    """Shape and dtype of one timestep of a sequence, without batch and time.

    >>> ChannelSpec((80,))
    ChannelSpec((80,), float32)
    """

    shape: tuple[int, ...]
    dtype: Any = dataclasses.field(default=np.dtype('float32'))

    def __post_init__(self):
        shape = self.shape if isinstance(self.shape, Iterable) else (self.shape,)
        object.__setattr__(self, 'shape', tuple(map(operator.index, shape)))
        object.__setattr__(self, 'dtype', canonical_dtype(self.dtype))

    def __repr__(self):
        return f'ChannelSpec({self.shape}, {self.dtype})'


def canonical_dtype(dtype: Any) -> np.dtype:
    """The dtype that JAX will use: float64 and int64 become 32 bits wide unless x64 is enabled."""
    return jax.dtypes.canonicalize_dtype(dtype)


def sequence_mask(lengths: Any, maxlen: int) -> jax.Array:
    """A mask `[b, maxlen]` whose first `lengths[b]` timesteps are valid."""
    return jnp.arange(maxlen) < jnp.asarray(lengths)[:, None]


@jax.tree_util.register_pytree_with_keys_class
class Sequence:
    """Values `(batch, time, *channels)` with a mask `(batch, time)`: True where a timestep is valid.

    An invalid timestep is padding: whatever its value is (zero, noise, NaN), it must not change any valid output.
    `MaskedSequence` is the same with the promise that invalid timesteps hold zeros. Both are pytrees. The arrays may
    be JAX's or NumPy's, and stay what they are.

    >>> x = Sequence.from_lengths(jnp.ones((2, 4, 3)), [4, 2])
    >>> x
    Sequence(float32[2, 4, 3], lengths=[4, 2])
    >>> x.mask_invalid().values[1, :, 0].tolist()
    [1.0, 1.0, 0.0, 0.0]

    Raises:
      TypeError: the values or the mask are not arrays, or the mask is not boolean.
      ValueError: the mask's shape is not the batch and time of the values.
    """

    __slots__ = ('mask', 'values')
    values: jax.Array
    mask: jax.Array

    def __init__(self, values: Any, mask: Any):
        values, mask = (a.astype(canonical_dtype(a.dtype)) if isinstance(a, np.ndarray) else a for a in (values, mask))
        _check(values, mask)
        object.__setattr__(self, 'values', values)
        object.__setattr__(self, 'mask', mask)

    def __setattr__(self, name, value):
        raise AttributeError(f'{type(self).__name__} is immutable: use .replace({name}=...)')

    # A pytree. Transformations rebuild it around placeholders, so unflattening must not check.
    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey
        return ((key('values'), self.values), (key('mask'), self.mask)), None

    def tree_flatten(self):
        return (self.values, self.mask), None

    @classmethod
    def tree_unflatten(cls, _, children) -> Self:
        self = object.__new__(cls)
        for name, child in zip(('values', 'mask'), children, strict=True):
            object.__setattr__(self, name, child)
        return self

    def __reduce__(self):
        return type(self).tree_unflatten, (None, (self.values, self.mask))

    def __repr__(self):
        if not hasattr(self.values, 'shape'):
            return f'{type(self).__name__}({self.values!r}, {self.mask!r})'
        spec = f'{self.values.dtype}{list(self.values.shape)}'
        if isinstance(self.mask, Tracer | jax.ShapeDtypeStruct) or self.mask.ndim != 2:
            return f'{type(self).__name__}({spec})'
        return f'{type(self).__name__}({spec}, {_mask_text(np.asarray(self.mask))})'

    def _repr_html_(self) -> str:
        from seqlayers.sequence_html import sequence_html  # for notebooks only

        return sequence_html(self)

    # --- constructors -------------------------------------------------------------------------------------
    @classmethod
    def from_values(cls, values: Any) -> 'MaskedSequence':
        """All timesteps valid. `values` has shape `(batch, time, *channels)`."""
        values = _as_values(values)
        return MaskedSequence(values, jnp.ones(values.shape[:2], bool))

    @classmethod
    def from_lengths(cls, values: Any, lengths: Any, is_masked: bool = False) -> 'Sequence':
        """Item `b` is valid in its first `lengths[b]` timesteps. `is_masked` promises zeros behind them."""
        values, lengths = _as_values(values), jnp.asarray(lengths)
        if lengths.shape != values.shape[:1]:
            raise ValueError(
                f'Sequence: lengths need one entry for each of the {values.shape[0]} items, got shape {lengths.shape}.'
            )
        kind = MaskedSequence if is_masked else Sequence
        return kind(values, sequence_mask(lengths, values.shape[1]))

    @classmethod
    def concatenate_sequences(cls, sequences: Iterable['Sequence']) -> 'Sequence':
        """Joins sequences along time. Masked if all of them are."""
        sequences = list(sequences)
        if not sequences:
            raise ValueError('Sequence.concatenate_sequences: there is nothing to concatenate')
        kind = MaskedSequence if all(isinstance(s, MaskedSequence) for s in sequences) else Sequence
        values, masks = [s.values for s in sequences], [s.mask for s in sequences]
        xp = _library(*values, *masks)
        return kind(xp.concatenate(values, axis=1), xp.concatenate(masks, axis=1))

    # --- what it is -----------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def channel_shape(self) -> tuple[int, ...]:
        return self.values.shape[2:]

    @property
    def channel_spec(self) -> ChannelSpec:
        return ChannelSpec(self.channel_shape, self.dtype)

    def expanded_mask(self) -> jax.Array:
        """The mask with a 1 for each channel axis, ready to broadcast against the values."""
        return self.mask.reshape(self.mask.shape + (1,) * (self.values.ndim - self.mask.ndim))

    def lengths(self) -> jax.Array:
        """The number of valid timesteps of each item, int32 `(batch,)`. With gaps, not the last valid index."""
        return self.mask.sum(axis=1, dtype=jnp.int32)

    # --- changed copies ----------------------------------------------------------------------------------
    def replace(self, **changes: Any) -> Self:
        return type(self)(**{'values': self.values, 'mask': self.mask, **changes})

    def apply_values(self, fn: Callable, *args: Any, **kwargs: Any) -> 'Sequence':
        """`fn(values)` with the same mask; the result is not known to be masked."""
        return Sequence(fn(self.values, *args, **kwargs), self.mask)

    def apply_values_masked(self, fn: Callable, *args: Any, **kwargs: Any) -> Self:
        """Like `apply_values` for an `fn` that maps 0 to 0: a masked sequence stays masked."""
        return type(self)(fn(self.values, *args, **kwargs), self.mask)

    def apply(self, fn: Callable, *args: Any, **kwargs: Any) -> 'Sequence':
        """`fn(values, mask) -> (values, mask)`."""
        return Sequence(*fn(self.values, self.mask, *args, **kwargs))

    def apply_masked(self, fn: Callable, *args: Any, **kwargs: Any) -> Self:
        """Like `apply` for an `fn` that keeps zeros at invalid timesteps."""
        return type(self)(*fn(self.values, self.mask, *args, **kwargs))

    def astype(self, dtype: Any) -> Self:
        return type(self)(self.values.astype(dtype or float), self.mask)

    def unmask(self) -> 'Sequence':
        """The same data without the promise that invalid timesteps are zero."""
        return Sequence(self.values, self.mask)

    def mask_invalid(self, mask_value: Any = None) -> 'Sequence':
        """Invalid timesteps replaced by zeros (then a `MaskedSequence`) or by `mask_value`.

        By selection, so that NaN and Inf vanish too.
        """
        xp = _library(self.values, self.mask)
        fill = xp.asarray(0 if mask_value is None else mask_value, self.dtype)
        kind = MaskedSequence if mask_value is None else Sequence
        return kind(xp.where(self.expanded_mask(), self.values, fill), self.mask)

    def concatenate(self, other: 'Sequence') -> 'Sequence':
        """This sequence and then `other`, along time."""
        return Sequence.concatenate_sequences([self, other])

    def pad_time(self, pad_left: int, pad_right: int, valid: bool = False, pad_value: Any = None) -> 'Sequence':
        """Adds timesteps at both ends, all valid or all invalid, of value `pad_value` (0)."""
        if not pad_left and not pad_right:
            return self
        pads = ((0, 0), (pad_left, pad_right))
        xp = _library(self.values, self.mask)
        fill = xp.asarray(0 if pad_value is None else pad_value, self.dtype)
        values = xp.pad(self.values, pads + ((0, 0),) * (self.ndim - 2), constant_values=fill)
        stays_masked = pad_value is None or valid
        kind = type(self) if stays_masked else Sequence
        return kind(values, xp.pad(self.mask, pads, constant_values=valid))

    def pad_to_multiple(self, n: int) -> 'Sequence':
        """Adds invalid timesteps at the end until the length is a multiple of `n`."""
        return self.pad_time(0, -self.shape[1] % n)

    def reverse_time(self) -> Self:
        """The array reversed in time, padding included."""
        return type(self)(self.values[:, ::-1], self.mask[:, ::-1])

    def __getitem__(self, index: Any) -> Self:
        index = index if isinstance(index, tuple) else (index,)
        if not index or not all(isinstance(i, slice) for i in index[:2]):
            raise ValueError(
                f'{type(self).__name__}[...]: batch and time take slices, as in x[:, 2:5]; got {index}. '
                'To drop an axis, index x.values and x.mask.'
            )
        return type(self)(self.values[index], self.mask[index[:2]])


@jax.tree_util.register_pytree_with_keys_class
class MaskedSequence(Sequence):
    """A `Sequence` whose invalid timesteps are known to be zero. Nothing checks the promise at run time."""

    __slots__ = ()

    def mask_invalid(self, mask_value: Any = None) -> Sequence:
        return self if mask_value is None else super().mask_invalid(mask_value)


def _library(*arrays: Any) -> Any:
    """NumPy for NumPy arrays, so that cutting and joining them compiles nothing; else JAX."""
    return np if all(isinstance(a, np.ndarray) for a in arrays) else jnp


def _as_values(values: Any) -> jax.Array:
    values = jnp.asarray(values)
    if values.ndim < 2:
        raise ValueError(
            f'Sequence: values need the axes (batch, time, *channels), got shape {values.shape}. '
            'Add a batch axis with values[None].'
        )
    return values


def _check(values: Any, mask: Any) -> None:
    for what, array in (('values', values), ('mask', mask)):
        if not hasattr(array, 'shape') or not hasattr(array, 'dtype') or isinstance(array, Sequence):
            raise TypeError(
                f'Sequence: {what} must be an array, got {type(array).__name__}. Wrap lists in jnp.asarray(...).'
            )
    if mask.dtype != bool and mask.dtype != jax.dtypes.float0:
        raise TypeError(
            'Sequence: the mask must be boolean (True where a timestep is valid), got '
            f'{mask.dtype}{list(mask.shape)}. '
            'Write mask > 0 (or mask.astype(bool)) to convert it, or give lengths to Sequence.from_lengths.'
        )
    if mask.ndim < 2 or values.shape[: mask.ndim] != mask.shape:
        raise ValueError(
            f'Sequence: the mask needs the shape (batch, time) of the values. Got values {list(values.shape)} '
            f'and mask {list(mask.shape)}; the mask must be {list(values.shape[:2])}.'
        )


def _mask_text(mask: np.ndarray) -> str:
    """`lengths=[..]` where each item is valid up to its length, else the count of valid timesteps."""
    lengths = mask.sum(axis=1)
    prefix = (mask == (np.arange(mask.shape[1]) < lengths[:, None])).all()
    shown = ', '.join(map(str, lengths[:8])) + (', ...' if len(lengths) > 8 else '')
    return f'{"lengths" if prefix else "valid, with gaps"}=[{shown}]'
