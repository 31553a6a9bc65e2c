from collections.abc import Sequence as PySequence
from typing import Any

from seqlayers.context import LayerError
from seqlayers.layer import Stateless


class AssertChannelSpec(Stateless):
    """The identity, which can only be built for channels of the given shape and dtype.

    Shapes: `(batch, time, *shape)` unchanged.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: unchanged. State: none.

    Args:
      shape: of the channels, with None for an axis of any size; None for any shape.
      dtype: None for any.

    Raises:
      LayerError: the input has another shape or dtype.

    Source: published for TensorFlow.

    >>> import seqlayers as sl
    >>> sl.AssertChannelSpec([None, 3]).build(sl.ChannelSpec((5, 3)), rngs=0).output_spec
    ChannelSpec((5, 3), float32)
    """

    shape: PySequence[int | None] | None = None
    dtype: Any = None

    def setup(self, input_spec, rngs, constants):
        if self.shape is not None:
            sizes = tuple(self.shape)
            fits = len(sizes) == len(input_spec.shape) and all(
                size in (None, got) for size, got in zip(sizes, input_spec.shape, strict=True)
            )
            if not fits:
                raise LayerError(f'expects channels {sizes} (None is any size) and got {input_spec.shape}')
        if self.dtype not in (None, input_spec.dtype):
            raise LayerError(
                f'expects {self.dtype} and got {input_spec.dtype}. Put sl.Cast({self.dtype.name!r}) before it'
            )

    def layer(self, x, *, training, constants=None):
        return x
