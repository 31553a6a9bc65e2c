"""Functions that are applied to every element."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqlayers.axes import channel_axes
from seqlayers.context import LayerError
from seqlayers.initializers import Constant, zeros
from seqlayers.layer import Stateless
from seqlayers.parameters import param

_COMMON = """
    Shapes: `(batch, time, *channels)` unchanged. Block size 1, output ratio 1, no latency, receptive field
    (0, 0). Mask: unchanged. State: none.
"""


class Activation(Stateless):
    """Base of the layers that apply one function to the values of every timestep.

    Subclasses define `function`, and say so if it does not map 0 to 0, which ends a masked sequence.
    """

    maps_zero_to_zero = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        sentence, *rest = (cls.__doc__ or '').split('\n', 1)
        cls.__doc__ = '\n'.join([sentence, _COMMON, *(part.lstrip('\n') for part in rest)])

    def function(self, values: jax.Array) -> jax.Array:
        raise NotImplementedError(f'{type(self).__name__} must define function(self, values)')

    def layer(self, x, *, training, constants=None):
        apply = x.apply_values_masked if self.maps_zero_to_zero else x.apply_values
        return apply(self.function)


class Abs(Activation):
    """The absolute value `|x|`, real for complex input.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Abs().build(sl.ChannelSpec((3,), jnp.complex64), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    def function(self, values):
        return jnp.abs(values)


class Cast(Activation):
    """Converts the values to `dtype`.

    >>> import seqlayers as sl
    >>> sl.Cast('bfloat16').build(sl.ChannelSpec((3,)), rngs=0).output_spec
    ChannelSpec((3,), bfloat16)
    """

    dtype: Any

    def function(self, values):
        return values.astype(self.dtype)


class Elu(Activation):
    """`x` where positive, else `alpha * (exp(x) - 1)`.

    Source: Clevert et al., arXiv 1511.07289.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Elu(alpha=2.0).function(jnp.array([-100.0, 3.0])).tolist()
    [-2.0, 3.0]
    """

    alpha: float = 1.0

    def function(self, values):
        return jax.nn.elu(values, self.alpha)


class Exp(Activation):
    """`exp(x)`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Exp().function(jnp.array([0.0])).tolist()
    [1.0]
    """

    maps_zero_to_zero = False

    def function(self, values):
        return jnp.exp(values)


class Gelu(Activation):
    """`x * Phi(x)`, Phi the normal distribution function, by default in its approximation with tanh.

    Source: Hendrycks and Gimpel, arXiv 1606.08415.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Gelu().function(jnp.array([-100.0, 0.0, 100.0])).tolist()
    [-0.0, 0.0, 100.0]
    """

    approximate: bool = True

    def function(self, values):
        return jax.nn.gelu(values, approximate=self.approximate)


class LeakyRelu(Activation):
    """`x` where positive, else `negative_slope * x`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.LeakyRelu(0.5).function(jnp.array([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    negative_slope: float = 0.01

    def function(self, values):
        return jax.nn.leaky_relu(values, self.negative_slope)


class Log(Activation):
    """`log(x)`, the natural logarithm.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Log().function(jnp.array([1.0])).tolist()
    [0.0]
    """

    maps_zero_to_zero = False

    def function(self, values):
        return jnp.log(values)


class Power(Activation):
    """`x ** power`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Power(3.0).function(jnp.array([-2.0, 3.0])).tolist()
    [-8.0, 27.0]
    """

    power: float = 1.0

    @property
    def maps_zero_to_zero(self) -> bool:
        return self.power > 0

    def function(self, values):
        return values**self.power


class PRelu(Activation):
    """`x` where positive, else a learned slope times `x`.

    Parameters: `negative_slope []`. Source: He et al., arXiv 1502.01852.

    >>> import seqlayers as sl
    >>> sl.PRelu(0.25).build(sl.ChannelSpec((3,)), rngs=0).negative_slope[...].item()
    0.25
    """

    negative_slope_init: float = 0.01
    param_dtype: Any = np.dtype('float32')

    def setup(self, input_spec, rngs, constants):
        self.negative_slope = param(Constant(self.negative_slope_init), rngs, (), self.param_dtype)

    def function(self, values):
        return jnp.where(values >= 0, values, self.negative_slope[...].astype(values.dtype) * values)


class Relu(Activation):
    """`max(x, 0)`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Relu().function(jnp.array([-2.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def function(self, values):
        return jax.nn.relu(values)


class Sigmoid(Activation):
    """`1 / (1 + exp(-x))`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Sigmoid().function(jnp.array([0.0])).tolist()
    [0.5]
    """

    maps_zero_to_zero = False

    def function(self, values):
        return jax.nn.sigmoid(values)


class Snake(Activation):
    """`x + sin(x * exp(alpha)) ** 2 / exp(beta)`, with alpha and beta learned for each channel.

    Parameters: `alpha_log [*channels]` and, if `separate_beta`, `beta_log [*channels]` (else beta is alpha).
    The output has the dtype of the input. Source: Ziyin et al., arXiv 2006.08195.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> model = sl.Snake(separate_beta=False).build(sl.ChannelSpec((1,)), rngs=0)
    >>> y = model.layer(sl.Sequence.from_values(jnp.ones((1, 1, 1))), training=False)
    >>> round(y.values.item(), 4)
    1.7081
    """

    separate_beta: bool
    param_dtype: Any = np.dtype('float32')

    def setup(self, input_spec, rngs, constants):
        self.alpha_log = param(zeros, rngs, input_spec.shape, self.param_dtype)
        if self.separate_beta:
            self.beta_log = param(zeros, rngs, input_spec.shape, self.param_dtype)

    def function(self, values):
        alpha = self.alpha_log[...]
        beta = self.beta_log[...] if self.separate_beta else alpha
        wave = jnp.sin(values * jnp.exp(alpha)) ** 2 / (jnp.exp(beta) + 1e-12)
        return (values + wave).astype(values.dtype)


class Softmax(Activation):
    """`exp(x) / sum(exp(x))` over a channel axis; `axis` counts batch and time.

    Raises:
      LayerError: `axis` is no channel axis of the input.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Softmax().function(jnp.zeros((1, 1, 4)))[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    axis: int = -1

    maps_zero_to_zero = False

    def setup(self, input_spec, rngs, constants):
        channel_axes(self.axis, input_spec.shape)

    def function(self, values):
        return jax.nn.softmax(values, self.axis)


class Softplus(Activation):
    """`log(1 + exp(x))`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Softplus().function(jnp.array([100.0])).tolist()
    [100.0]
    """

    maps_zero_to_zero = False

    def function(self, values):
        return jax.nn.softplus(values)


class Swish(Activation):
    """`x * sigmoid(x)`, also known as SiLU.

    Source: Ramachandran et al., arXiv 1710.05941.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Swish().function(jnp.array([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """

    def function(self, values):
        return jax.nn.swish(values)


class Tanh(Activation):
    """`tanh(x)`.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> sl.Tanh().function(jnp.array([0.0, 100.0])).tolist()
    [0.0, 1.0]
    """

    def function(self, values):
        return jnp.tanh(values)


class GatedUnit(Stateless):
    """Half of the channels gates the others: `feature_activation(first half) * gate_activation(second half)`.

    Shapes: `(batch, time, *outer, 2 * n) -> (batch, time, *outer, n)`. Block size 1, output ratio 1, no
    latency, receptive field (0, 0). Mask: unchanged. State: none.

    An activation may be None. Without any it is a bilinear unit.

    Raises:
      LayerError: the number of channels is odd, or there is no channel axis.

    Source: Dauphin et al., arXiv 1612.08083; Shazeer, arXiv 2002.05202.

    >>> import jax, seqlayers as sl
    >>> sl.GatedUnit(None, jax.nn.gelu).build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    feature_activation: Callable | None
    gate_activation: Callable | None

    def setup(self, input_spec, rngs, constants):
        if not input_spec.shape or input_spec.shape[-1] % 2:
            raise LayerError(f'halves the last channel axis: it must be even, got channels {input_spec.shape}')

    def layer(self, x, *, training, constants=None):
        half = x.shape[-1] // 2
        # Two slices: the gradient of `split` joins its parts in a pass of its own.
        feature, gate = x.values[..., :half], x.values[..., half:]
        if self.feature_activation is not None:
            feature = self.feature_activation(feature)
        if self.gate_activation is not None:
            gate = self.gate_activation(gate)
        return x.unmask().replace(values=feature * gate)


class GatedLinearUnit(GatedUnit):
    """`first half of the channels * sigmoid(second half)`; see `GatedUnit`.

    >>> import seqlayers as sl
    >>> sl.GatedLinearUnit().build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    feature_activation: Callable | None = None
    gate_activation: Callable | None = jax.nn.sigmoid


class GatedTanhUnit(GatedUnit):
    """`tanh(first half of the channels) * sigmoid(second half)`; see `GatedUnit`.

    Source: van den Oord et al., "WaveNet", arXiv 1609.03499.

    >>> import seqlayers as sl
    >>> sl.GatedTanhUnit().build(sl.ChannelSpec((6,)), rngs=0).output_spec
    ChannelSpec((3,), float32)
    """

    feature_activation: Callable | None = jnp.tanh
    gate_activation: Callable | None = jax.nn.sigmoid
