import math
import re
import string
from collections.abc import Callable
from collections.abc import Sequence as PySequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.context import LayerError
from seqlayers.dtypes import promote
from seqlayers.initializers import lecun_normal, zeros
from seqlayers.layer import Stateless
from seqlayers.parameters import param
from seqlayers.products import einsum
from seqlayers.sequence import Sequence


def apply_einsum(layer: Any, equation: str, x: Sequence, kernel: jax.Array, bias: jax.Array | None) -> Sequence:
    """`activation(einsum(x, kernel) + bias)` with the layer's dtype, precision and activation.

    Without bias and activation zeros stay zeros, so a masked sequence stays masked.
    """
    values, kernel, bias = promote(x.values, kernel, bias, dtype=layer.compute_dtype)
    y = einsum(equation, values, kernel, layer.precision)
    if bias is not None:
        y = y + bias
    if layer.activation is not None:
        y = layer.activation(y)
    masked = bias is None and layer.activation is None
    return type(x)(y, x.mask) if masked else Sequence(y, x.mask)


class Dense(Stateless):
    """A linear map of the last channel axis, with a bias and an activation.

    Shapes: `(batch, time, *outer, in) -> (batch, time, *outer, features)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: unchanged. State: none. Parameters: `kernel [in, features]`, `bias [features]`.

    Raises:
      LayerError: the input has no channel axis.

    >>> import seqlayers as sl
    >>> model = sl.Dense(3).build(sl.ChannelSpec((5,)), rngs=0)
    >>> model.output_spec
    ChannelSpec((3,), float32)
    """

    features: int
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape:
            raise LayerError('maps the last channel axis and got channels (); use DenseShaped for scalars')
        inputs = input_spec.shape[-1]
        self.kernel = param(
            self.kernel_init, rngs, (inputs, self.features), self.param_dtype,
            fan_in=inputs, sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, (self.features,), self.param_dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        bias = self.bias[...] if self.use_bias else None
        return apply_einsum(self, '...a,ab->...b', x, self.kernel[...], bias)


class DenseShaped(Stateless):
    """A linear map of all channels to channels of any shape, with a bias and an activation.

    Shapes: `(batch, time, *in) -> (batch, time, *output_shape)`; both may be `()`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: unchanged. State: none. Parameters: `kernel [*in, *output_shape]`, `bias [*output_shape]` (a scalar side
      counts as 1).

    >>> import seqlayers as sl
    >>> sl.DenseShaped([4, 16]).build(sl.ChannelSpec((2, 3)), rngs=0).kernel.shape
    (2, 3, 4, 16)
    """

    output_shape: int | PySequence[int]
    use_bias: bool = True
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.output_shape,) if isinstance(self.output_shape, int) else tuple(self.output_shape)

    def setup(self, input_spec, rngs, constants):
        inputs, outputs = input_spec.shape or (1,), self._shape or (1,)
        self.kernel = param(
            self.kernel_init, rngs, inputs + outputs, self.param_dtype,
            fan_in=math.prod(inputs), sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.use_bias:
            self.bias = param(self.bias_init, rngs, outputs, self.param_dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        inputs, outputs = self.input_spec.shape or (1,), self._shape or (1,)
        letters = string.ascii_letters
        a, b = letters[: len(inputs)], letters[len(inputs) : len(inputs) + len(outputs)]
        flat = x.apply_values_masked(jnp.reshape, x.shape[:2] + inputs)
        bias = self.bias[...] if self.use_bias else None
        y = apply_einsum(self, f'...{a},{a}{b}->...{b}', flat, self.kernel[...], bias)
        return y.apply_values_masked(jnp.reshape, x.shape[:2] + self._shape)


class EinsumDense(Stateless):
    """A linear map of channels by an einsum equation, with a bias and an activation.

    Shapes: `(batch, time, *in) -> (batch, time, *out)` by the equation `...in,kernel->...out`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: unchanged. State: none. Parameters: `kernel`, its shape by the equation; `bias`, from the first axis of
    `bias_axes` on, of size 1 where an axis is not listed.

    Args:
      equation: such as `'...nh,nhd->...d'`.
      output_shape: the sizes of the output axes; None for one that the input has.
      bias_axes: the letters of the output axes along which the bias varies; none without a bias.

    Raises:
      LayerError: the equation has another form, or its sizes do not fit.

    >>> import seqlayers as sl
    >>> model = sl.EinsumDense('...ab,ac->...cb', [6, None], bias_axes='c').build(sl.ChannelSpec((5, 7)), rngs=0)
    >>> model.kernel.shape, model.bias.shape, model.output_spec.shape
    ((5, 6), (6, 1), (6, 7))
    """

    equation: str
    output_shape: PySequence[int | None]
    bias_axes: str = ''
    activation: Callable | None = None
    compute_dtype: Any = None
    param_dtype: Any = np.dtype('float32')
    precision: Any = None
    kernel_init: Callable = lecun_normal
    kernel_sharding: Any = None
    bias_init: Callable = zeros
    bias_sharding: Any = None

    def __post_init__(self):
        _ = self._letters

    @property
    def _letters(self) -> tuple[str, str, str]:
        """The axes of input, kernel and output."""
        match = re.fullmatch(r'\.\.\.([a-zA-Z]*),([a-zA-Z]*)->\.\.\.([a-zA-Z]*)', self.equation.replace(' ', ''))
        if not match or any(len(set(axes)) != len(axes) for axes in match.groups()):
            raise LayerError(
                f'EinsumDense: equation {self.equation!r} must have the form "...in,kernel->...out", no letter twice '
                'in one part'
            )
        inputs, kernel, outputs = match.groups()
        if (
            set(kernel) - set(inputs + outputs)
            or set(self.bias_axes) - set(outputs)
            or len(self.output_shape) != len(outputs)
        ):
            raise LayerError(
                f'EinsumDense: in {self.equation!r} the kernel takes axes of input and output, bias_axes '
                f'{self.bias_axes!r} axes of the '
                f'output, and output_shape {self.output_shape} has a size for each of them'
            )
        return inputs, kernel, outputs

    def setup(self, input_spec, rngs, constants):
        inputs, kernel, outputs = self._letters
        if len(inputs) != len(input_spec.shape):
            raise LayerError(f'equation {self.equation!r} is for {len(inputs)} channel axes and got {input_spec.shape}')
        sizes = dict(zip(inputs, input_spec.shape, strict=True))
        for letter, size in zip(outputs, self.output_shape, strict=True):
            if (size is None and letter not in sizes) or (size is not None and sizes.setdefault(letter, size) != size):
                raise LayerError(
                    f'output_shape {self.output_shape} does not fit {self.equation!r} with channels {input_spec.shape}'
                )
        contracted = [sizes[a] for a in kernel if a in inputs and a not in outputs]
        self.kernel = param(
            self.kernel_init, rngs, tuple(sizes[a] for a in kernel), self.param_dtype,
            fan_in=math.prod(contracted), sharding=self.kernel_sharding,
        )  # fmt: skip
        if self.bias_axes:
            first = min(outputs.index(a) for a in self.bias_axes)
            shape = tuple(sizes[a] if a in self.bias_axes else 1 for a in outputs[first:])
            self.bias = param(self.bias_init, rngs, shape, self.param_dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        bias = self.bias[...] if self.bias_axes else None
        return apply_einsum(self, self.equation, x, self.kernel[...], bias)
