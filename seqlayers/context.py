"""What travels with a call besides the data: constants, the random key, and where in the model we are."""

import math
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class LayerError(ValueError):
    """Wrong input or use of a layer. The message starts with the layer's path in the model."""

    located = False

    def locate(self, where: str) -> None:
        """Puts the place in front of the message, once: the innermost layer knows best."""
        if not self.located:
            self.args = (f'{where}: {self}', *self.args[1:])
            self.located = True


class OutputError(LayerError):
    """A layer's output is not what its declaration says: another channel shape, dtype or number of timesteps."""


@jax.tree_util.register_pytree_with_keys_class
class Context(MutableMapping):
    """The `constants` that an author's method receives: the user's entries, the random key and the path.

    Authors pass it on to child layers unchanged. The name of a child is found by its identity in the owner; where
    identity is lost (while building, under `scan`), the owner says it: `constants.at('layers_2')`. In a pytree the
    path is static, so that a function traced for one place in a model is never reused for another.
    """

    __slots__ = ('_next_name', '_parent', '_path', 'emits', 'entries', 'key', 'max_length', 'owner', 'tape')

    def __init__(self, entries: dict[str, Any], key: Any = None, owner: Any = None, path: str | None = ''):
        self.entries, self.key, self.owner = entries, key, owner
        self.emits = True  # whether the owner was asked for emits, which are dear; see `calls.run`
        self.tape: list | None = None  # (path, output) of every layer that ran, if somebody listens
        # How many timesteps of the owner's input will be stepped, if get_initial_state was told.
        self.max_length: int | None = None
        self._path = path
        self._parent: Context | None = None
        self._next_name: str | None = None

    def enter(self, layer: Any, copy: bool) -> 'Context':
        """The context of a call of the child `layer`. `copy` keeps entries that it adds from its own siblings."""
        child = Context(dict(self.entries) if copy else self.entries, self.key, layer, None)
        child._parent, child.tape, child.max_length = self, self.tape, self.max_length
        return child

    def at(self, name: str) -> 'Context':
        """The same context for a call of the child of that name."""
        named = Context(self.entries, self.key, self.owner, self._path)
        named._parent, named._next_name = self._parent, name
        named.emits, named.tape, named.max_length = self.emits, self.tape, self.max_length
        return named

    def lasting(self, timesteps: int) -> 'Context':
        """The same context, for a stream of at most so many timesteps."""
        limited = self.at(self._next_name or '')
        limited.max_length = timesteps
        return limited

    def behind(self, ratio: Fraction) -> 'Context':
        """The same context for children behind layers of this output ratio, which see so many more timesteps."""
        if self.max_length is None or ratio == 1:
            return self
        return self.lasting(math.ceil(self.max_length * ratio))

    def folded(self, index: Any) -> 'Context':
        """The same context with another key: repetition `index` of a repeated layer."""
        other = self.at(self._next_name) if self._next_name else self.at('')
        other.key = None if self.key is None else jax.random.fold_in(self.key, index)
        return other

    @property
    def path(self) -> str:
        """Where the owner stands in the model, as in `layers_1/layers_0`; empty at the root."""
        if self._path is None:
            assert self._parent is not None  # a path is unknown only below a parent
            above, name = self._parent.path, self._parent.name_of(self.owner)
            self._path = f'{above}/{name}' if above and name else above or name
        return self._path

    def name_of(self, child: Any) -> str:
        if self._next_name or self.owner is None:
            return self._next_name or ''
        names = (name for name, layer in self.owner.children() if layer is child)
        return next(names, type(child).__name__)

    def layer_key(self) -> jax.Array:
        """The key of this layer: the root's key with the path folded in.

        Raises:
          LayerError: the call at the root was not given `rng=`.
        """
        if self.key is None:
            raise LayerError(
                'draws random numbers here and got no key. Pass one to the outermost call: '
                'model.layer(x, training=True, rng=jax.random.key(0))'
            )
        return jax.random.fold_in(self.key, zlib.crc32(self.path.encode()))

    # --- a mapping of the user's entries -----------------------------------------------------------------
    def __getitem__(self, name: str) -> Any:
        return self.entries[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.entries[name] = value

    def __delitem__(self, name: str) -> None:
        del self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self):
        return f'Context({sorted(self.entries)}, path={self.path!r})'

    # --- a pytree ------------------------------------------------------------------------------------------
    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey
        return ((key('entries'), self.entries), (key('key'), self.key)), (self.path, self._next_name, self.emits)

    @classmethod
    def tree_unflatten(cls, static, children):
        self = cls(*children, path=static[0])
        self._next_name, self.emits = static[1:]
        return self


def root_context(constants: Mapping[str, Any] | None, rng: Any) -> Context:
    """The context of an outermost call: a copy of the user's constants, and the key as threefry.

    Keys of other implementations are converted, because only threefry gives a timestep the same bits
    whatever the shape around it is.
    """
    if rng is not None:
        if not isinstance(rng, jax.Array | np.ndarray):
            raise LayerError(f'rng must be a JAX key, such as jax.random.key(0); got {type(rng).__name__}')
        typed = rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(jnp.asarray(rng))
        if jax.random.key_impl(typed) != 'threefry2x32':
            bits = jax.random.bits(typed, (2,), jnp.uint32)
            typed = jax.random.wrap_key_data(bits, impl='threefry2x32')
        rng = typed
    return Context(dict(constants or {}), rng)
