import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from seqlayers import calls
from seqlayers.combinators import chain
from seqlayers.context import Context, LayerError
from seqlayers.declaration import LayerDict
from seqlayers.initializers import zeros
from seqlayers.layer import SequenceLayer, Stateless, map_layers
from seqlayers.layers.embedding import Embedding
from seqlayers.parameters import param
from seqlayers.sequence import ChannelSpec
from seqlayers.timing import Timing


class Shared(SequenceLayer):
    """Layers that several places of a model use, with one set of parameters: weight tying.

    `child_layer` is the model. Inside it, `Ref('name')` stands for `shared['name']`, in as many places as you like,
    and `EmbeddingTranspose('name')` for the transpose of a shared `Embedding`. A shared layer is built for the input
    of its first `Ref`.

    (One built module in two places would not do: plain `jax.jit` and `jax.grad` make two of it, which then drift
    apart.)

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | of `child_layer` | of `child_layer` | of `child_layer` | of `child_layer` |

    Shapes, mask, state and emits are those of `child_layer` too; every `Ref` has a state of its own.

    Raises: LayerError: a `Ref` to an unknown name or with another input than the first one, or a shared layer that
      nobody refers to.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> table = sl.Embedding(dimension=4, num_embeddings=10)
    >>> language_model = sl.Shared(
    ...     {'embedding': table}, sl.Serial([sl.Ref('embedding'), sl.LSTM(4), sl.EmbeddingTranspose('embedding')])
    ... )
    >>> model = language_model.build(sl.ChannelSpec((), jnp.int32), rngs=0)
    >>> model.output_spec, model.shared['embedding'].embedding.shape
    (ChannelSpec((10,), float32), (10, 4))
    """

    shared: Mapping[str, SequenceLayer] = nnx.data()
    child_layer: SequenceLayer = nnx.data()

    def __post_init__(self):
        for name, layer in self.shared.items():
            chain.as_layers(self, f'shared[{name!r}]', layer)
        self.shared = LayerDict(self.shared)
        (body,) = chain.as_layers(self, 'child_layer', self.child_layer)
        self.child_layer = body if body.is_built else map_layers(body, self._bind)

    def _bind(self, layer: SequenceLayer) -> SequenceLayer:
        """Tells a `Ref` what it refers to, so that its timing is known before anything is built."""
        if not isinstance(layer, Ref) or layer.target is not None:
            return layer
        if layer.shared_name not in self.shared:
            raise LayerError(f'Shared: {layer!r} refers to none of the shared layers: {", ".join(self.shared)}')
        return layer.replace(target=_Target(self.shared[layer.shared_name]))

    @property
    def timing(self):
        return self.child_layer.timing

    def setup(self, input_spec, rngs, constants):
        # The body is built first, around empty places: it may be under the trace of a Repeat, and the shared layers
        # must not be.
        places = {name: _Place(name, layer) for name, layer in self.shared.items()}
        inner = constants.at('child_layer')
        inner.entries = {**inner.entries, **{_key(name): place for name, place in places.items()}}
        self.child_layer = self.child_layer.build(input_spec, rngs=rngs, constants=inner)
        self.output_spec = self.child_layer.output_spec
        built = {name: place.build(rngs, constants.at(name)) for name, place in places.items()}
        self.shared = LayerDict(built)

    def _inner(self, constants: Context) -> Context:
        inner = constants.at('child_layer')
        inner.entries = {**inner.entries, **{_key(name): layer for name, layer in self.shared.items()}}
        return inner

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        inner = self._inner(constants)
        return self.child_layer.get_initial_state(batch_size, training=training, constants=inner, offset=offset)

    def layer_with_emits(self, x, *, training, constants=None):
        return calls.run(self.child_layer, x, training=training, constants=self._inner(constants))

    def step_with_emits(self, x, state, *, training, constants=None):
        return calls.run_step(self.child_layer, x, state, training=training, constants=self._inner(constants))


@dataclasses.dataclass(frozen=True)
class _Target:
    """A declaration as a hyper-parameter, not as a child."""

    declaration: SequenceLayer


class Ref(SequenceLayer):
    """Stands for the layer of that name in the `Shared` around it, and behaves like it.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | of the shared layer | of the shared layer | of the shared layer | of the shared layer |

    >>> import seqlayers as sl
    >>> twice = sl.Shared({'conv': sl.Conv1D(4, 3, padding='causal')}, sl.Serial([sl.Ref('conv'), sl.Ref('conv')]))
    >>> twice.receptive_field
    (-4, 0)
    """

    shared_name: str
    target: Any = dataclasses.field(default=None, repr=False)  # filled in by Shared

    @property
    def timing(self):
        return Timing() if self.target is None else self.target.declaration.timing

    def setup(self, input_spec, rngs, constants):
        place = _lookup(constants, self.shared_name)
        if self.target is None:
            raise LayerError(
                f'Ref({self.shared_name!r}) must be visible to Shared when that is declared: it cannot stand in the '
                'body of a Composite'
            )
        self.output_spec = place.refer(input_spec, constants)

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return self._target(constants).get_initial_state(
            batch_size, training=training, constants=constants, offset=offset
        )

    def layer_with_emits(self, x, *, training, constants=None):
        return calls.run(self._target(constants), x, training=training, constants=constants)

    def step_with_emits(self, x, state, *, training, constants=None):
        return calls.run_step(self._target(constants), x, state, training=training, constants=constants)

    def _target(self, constants: Context) -> SequenceLayer:
        found = _lookup(constants, self.shared_name)
        return found.sketch(self.input_spec, constants) if isinstance(found, _Place) else found


class _Place:
    """Where a shared layer will be, while the layers that refer to it are built."""

    def __init__(self, name: str, declaration: SequenceLayer):
        self.name, self.declaration = name, declaration
        self.input_spec: Any = None  # that of the first Ref

    def refer(self, input_spec: ChannelSpec, constants: Context) -> ChannelSpec:
        """Notes the input of a `Ref`, and returns the output."""
        if self.input_spec not in (None, input_spec):
            raise LayerError(
                f'{self.name!r} is shared by inputs {self.input_spec} and {input_spec}; they must be equal'
            )
        self.input_spec = input_spec
        return jax.eval_shape(lambda: self.sketch(input_spec, constants)).output_spec

    def sketch(self, input_spec: ChannelSpec, constants: Context) -> SequenceLayer:
        """The layer with some parameters, for abstract evaluation."""
        return self.declaration.build(input_spec, rngs=nnx.Rngs(0), constants=constants.at(self.name))

    def build(self, rngs: nnx.Rngs, constants: Context) -> SequenceLayer:
        if self.input_spec is None:
            raise LayerError(f'nothing in the model refers to {self.name!r}: put Ref({self.name!r}) in it')
        return self.declaration.build(self.input_spec, rngs=rngs, constants=constants)


def _key(name: str) -> str:
    return f'shared/{name}'


def _lookup(constants: Context, name: str) -> Any:
    if _key(name) not in constants:
        raise LayerError(f'refers to {name!r}, and no Shared around it holds a layer of that name')
    return constants[_key(name)]


class EmbeddingTranspose(Stateless):
    """Logits from vectors by the table of a shared `Embedding`, and a bias: the output layer of a model with tied
    embeddings.

    Shapes: `(batch, time, *outer, dimension) -> (batch, time, *outer, num_embeddings)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (0, 0) |

    Mask: unchanged. State: none. Parameters: `bias [num_embeddings]`; the table belongs to the `Shared` around it.

    Args:
      embedding: the name of the embedding in `Shared`. A `Ref` to it must come before.

    Raises:
      LayerError: there is no such embedding, or the last channel axis is not its `dimension`.

    Source: Press and Wolf, arXiv 1608.05859.

    >>> import seqlayers as sl
    >>> sl.EmbeddingTranspose('embedding').receptive_field
    (0, 0)
    """

    embedding: str
    use_bias: bool = True
    bias_init: Callable = zeros
    bias_sharding: Any = None
    compute_dtype: Any = None
    param_dtype: Any = None

    def setup(self, input_spec, rngs, constants):
        place = _lookup(constants, self.embedding)
        declaration = place.declaration if isinstance(place, _Place) else place
        if not isinstance(declaration, Embedding):
            raise LayerError(f'needs an Embedding, and {self.embedding!r} is {declaration!r}')
        if isinstance(place, _Place) and place.input_spec is None:
            raise LayerError(f'stands before any Ref({self.embedding!r}), so the embedding has no input yet')
        if self.use_bias:
            dtype = self.param_dtype or declaration.param_dtype
            self.bias = param(self.bias_init, rngs, (declaration.num_embeddings,), dtype, sharding=self.bias_sharding)

    def layer(self, x, *, training, constants=None):
        place = _lookup(constants, self.embedding)
        embedding: Any = place.sketch(place.input_spec, constants) if isinstance(place, _Place) else place
        dtype = self.compute_dtype or embedding.compute_dtype
        logits = embedding.attend(x, compute_dtype=dtype)
        if not self.use_bias:
            return logits
        return logits.apply_values(lambda v: v + self.bias[...].astype(v.dtype))
