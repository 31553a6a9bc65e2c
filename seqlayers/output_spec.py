"""The channels that a layer gives, found by running it on an abstract input: no layer writes its shape code twice."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from seqlayers.context import Context, LayerError
from seqlayers.sequence import ChannelSpec, Sequence, canonical_dtype

if TYPE_CHECKING:
    from seqlayers.layer import SequenceLayer

_KNOWN: dict[tuple, ChannelSpec] = {}


def output_spec_of(declaration: 'SequenceLayer', built: 'SequenceLayer', context: Context) -> ChannelSpec:
    """The output of a new layer. Equal declarations have equal outputs, and a model repeats most of its layers."""
    if context.entries or _holds_built(declaration):  # it depends on more
        return _evaluate(built, context)
    key = declaration, built.input_spec, canonical_dtype(float)  # 64 bits are a mode of JAX
    if key not in _KNOWN:
        _KNOWN[key] = _evaluate(built, context)
    return _KNOWN[key]


def _holds_built(layer: 'SequenceLayer') -> bool:
    return layer.is_built or any(_holds_built(child) for _, child in layer.children())


def _evaluate(layer: 'SequenceLayer', context: Context) -> ChannelSpec:
    leaves, treedef = jax.tree.flatten(context.entries)
    abstract = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)]
    sources = [leaf.shape[0] for leaf in leaves if getattr(leaf, 'ndim', 0)]

    def as_long_as(x: Sequence, constant: jax.Array) -> jax.Array:
        return jnp.zeros((constant.shape[0], x.shape[1], *constant.shape[2:]), canonical_dtype(constant.dtype))

    def run(x: Sequence, specs: list) -> Sequence:
        given = dict(zip(abstract, specs, strict=True))
        entries = jax.tree.unflatten(treedef, [given.get(i, leaf) for i, leaf in enumerate(leaves)])
        for name in layer.streamed_constants(entries):
            entries[name] = jax.tree.map(lambda a: as_long_as(x, a), entries[name])
        inner = Context(entries, jax.random.key(0), layer, context.path)
        return layer.layer(x, training=False, constants=inner)

    shape = (max(sources, default=1), layer.block_size)
    spec = layer.input_spec
    x = Sequence(jax.ShapeDtypeStruct(shape + spec.shape, spec.dtype), jax.ShapeDtypeStruct(shape, bool))
    y = jax.eval_shape(run, x, [leaves[i] for i in abstract])
    if not isinstance(y, Sequence):
        raise LayerError(f'layer() must return a Sequence, returned {type(y).__name__}')
    return y.channel_spec
