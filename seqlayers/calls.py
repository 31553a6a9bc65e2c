"""What is wrapped around every author's method: checks, the place in errors, the random key, the offset."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jax.core import Tracer

from seqlayers.context import Context, LayerError, OutputError, root_context
from seqlayers.sequence import ChannelSpec, Sequence, canonical_dtype


def enter(layer: Any, constants: Any, rng: Any = None) -> Context:
    """The context of a call of `layer`: below the caller's, or a new root."""
    if type(constants) is not Context:
        constants = root_context(constants, rng)
    return constants.enter(layer, copy=layer.is_combinator)


def run(child: Any, x: Sequence, *, training: bool, constants: Context) -> tuple[Sequence, Any]:
    """`child.layer_with_emits` for a combinator; without emits, `()`, where nobody asked the combinator for them."""
    if constants.emits:
        return child.layer_with_emits(x, training=training, constants=constants)
    return child.layer(x, training=training, constants=constants), ()


def run_step(child: Any, x: Sequence, state: Any, *, training: bool, constants: Context) -> tuple[Sequence, Any, Any]:
    """`child.step_with_emits`, likewise."""
    if constants.emits:
        return child.step_with_emits(x, state, training=training, constants=constants)
    return *child.step(x, state, training=training, constants=constants), ()


def record(context: Context, y: Sequence) -> None:
    """Notes an output for `seqlayers.testing.tape`. Not inside a scan or jit, from which values cannot be taken out."""
    if context.tape is not None and not isinstance(y.values, Tracer):
        context.tape.append((context.path, y))


def explain(error: Exception, context: Context, method: str, given: Any) -> None:
    """Adds the place to an error that passes through: in the message of a LayerError, as a note to any other."""
    layer, method = type(context.owner).__name__, method.removesuffix('_with_emits')
    path = context.path
    if isinstance(error, LayerError):
        error.locate(f'{path} ({layer}.{method})' if path else f'{layer}.{method}')
    elif not getattr(error, 'has_layer_note', False):
        place = f'{path} ({layer}.{method})' if path else f'{layer}.{method}'
        error.add_note(f'in {place}, input {given!r}')
        error.has_layer_note = True  # type: ignore[attr-defined]


def wrap_layer(fn: Callable, method: str) -> Callable:
    """`layer` and `layer_with_emits`."""

    with_emits = method.endswith('_with_emits')

    @functools.wraps(fn)
    def call(self, x, *, training, constants=None, rng=None):
        if type(constants) is Context and constants.owner is self:
            return fn(self, x, training=training, constants=constants)
        context = enter(self, constants, rng)
        context.emits = with_emits
        try:
            _check_input(self, x)
            result = fn(self, x, training=training, constants=context)
            y = result if method == 'layer' else result[0]
            _check_output(self, y)
            record(context, y)
            return result
        except Exception as error:
            explain(error, context, method, x)
            raise

    return _shown(call)


def wrap_step(fn: Callable, method: str) -> Callable:
    """`step` and `step_with_emits`."""

    with_emits = method.endswith('_with_emits')

    @functools.wraps(fn)
    def call(self, x, state, *, training, constants=None, rng=None):
        if type(constants) is Context and constants.owner is self:
            return fn(self, x, state, training=training, constants=constants)
        context = enter(self, constants, rng)
        context.emits = with_emits
        try:
            _check_input(self, x)
            _check_block(self, x)
            result = fn(self, x, state, training=training, constants=context)
            _check_pair(result, method)
            _check_output(self, result[0], x)
            record(context, result[0])
            return result
        except Exception as error:
            explain(error, context, method, x)
            raise

    return _shown(call)


def wrap_get_initial_state(fn: Callable, method: str) -> Callable:
    asks_for_offset = 'offset' in _parameters(fn)

    @functools.wraps(fn)
    def call(self, batch_size, *, training, constants=None, offset=0, rng=None, max_length=None):
        told = {'offset': offset} if asks_for_offset else {}
        if type(constants) is Context and constants.owner is self:
            return fn(self, batch_size, training=training, constants=constants, **told)
        context = enter(self, constants, rng)
        if max_length is not None:
            context.max_length = max_length
        try:
            _check_built(self, None)
            _check_streams(self)
            if offset % self._facts.align:
                raise LayerError(
                    f'starts only behind a multiple of {self._facts.align} void timesteps, got offset={offset}; '
                    'put it in a Serial, which inserts the delay that is needed'
                )
            return fn(self, batch_size, training=training, constants=context, **told)
        except Exception as error:
            explain(error, context, method, batch_size)
            raise

    return _shown(call)


WRAPPERS = {
    'layer': wrap_layer,
    'layer_with_emits': wrap_layer,
    'step': wrap_step,
    'step_with_emits': wrap_step,
    'get_initial_state': wrap_get_initial_state,
}


ARGUMENTS = {
    'setup': ('input_spec', 'rngs', 'constants'),
    'layer': ('x',),
    'layer_with_emits': ('x',),
    'step': ('x', 'state'),
    'step_with_emits': ('x', 'state'),
    'get_initial_state': ('batch_size',),
}


def _shown(call: Callable) -> Callable:
    """The wrapper under its own signature, with `rng`, in help() and tooltips: not under the author's."""
    del call.__wrapped__  # type: ignore[attr-defined]
    call.__annotations__['rng'] = 'jax.Array | None'
    return call


def check_signature(fn: Callable, method: str) -> None:
    """Whether an author's method can be called as it will be: said when the class is made, not in the first step."""
    arguments, keywords = ARGUMENTS[method], [] if method == 'setup' else ['training', 'constants']
    if _parameters(fn) == ('self', *arguments, *keywords) and fn.__code__.co_kwonlyargcount == len(keywords):
        return  # written as documented; nearly all are, and `inspect` is slow
    try:
        inspect.signature(fn).bind('self', *arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        wanted = ', '.join(['self', *arguments, *(['*', 'training', 'constants=None'] if keywords else [])])
        raise TypeError(f'{fn.__qualname__} must take ({wanted}): {error}') from None


def _parameters(fn: Callable) -> tuple[str, ...]:
    code = fn.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _check_built(layer: Any, x: Any) -> None:
    if not layer.is_built:
        spec = _code(x.channel_spec) if isinstance(x, Sequence) else 'sl.ChannelSpec(...)'
        raise LayerError(
            'is a declaration, without parameters. Build it first: '
            f'model = layer.build({spec}, rngs=nnx.Rngs(0)); then call model'
        )


def _code(spec: ChannelSpec) -> str:
    return f'sl.ChannelSpec({spec.shape}, {spec.dtype.name!r})'


def _check_input(layer: Any, x: Any) -> None:
    if not isinstance(x, Sequence):
        raise LayerError(
            f'takes a Sequence, got {type(x).__name__}. Wrap an array (batch, time, *channels) in '
            'sl.Sequence.from_values(array), or give lengths to sl.Sequence.from_lengths(array, lengths)'
        )
    _check_built(layer, x)
    spec = layer.input_spec
    if x.channel_shape != spec.shape:
        raise LayerError(
            f'was built for channels {spec.shape} and got {x.channel_shape} '
            f'(input {x.dtype}{list(x.shape)} = batch, time, *channels). '
            f'Give it channels {spec.shape}, or build the declaration for {_code(x.channel_spec)}'
        )
    if x.dtype != spec.dtype and canonical_dtype(x.dtype) != spec.dtype:
        raise LayerError(
            f'was built for {spec.dtype} and got {x.dtype}. Convert the input with x.astype({spec.dtype.name!r}), '
            f'or build the declaration for {_code(x.channel_spec)}'
        )


def _check_streams(layer: Any) -> None:
    if layer._facts.blocked is not None:
        raise LayerError(
            f'cannot run in steps: {layer._facts.blocked}. layer() works; explain_streamability() on the model '
            'names every layer that blocks it'
        )


def _check_block(layer: Any, x: Sequence) -> None:
    _check_streams(layer)
    block = layer._facts.block_size
    if x.shape[1] % block:
        sizes = ', '.join(str(block * n) for n in (1, 2, 3))
        raise LayerError(
            f'steps take a multiple of block_size={block} timesteps, got {x.shape[1]}. '
            f'Valid: {sizes}, ...; x.pad_to_multiple({block}) fills up with invalid timesteps'
        )


def _check_pair(result: Any, method: str) -> None:
    wanted = ('output', 'state') if method == 'step' else ('output', 'state', 'emits')
    if type(result) is not tuple or len(result) != len(wanted):
        raise OutputError(f'{method} must return ({", ".join(wanted)}), returned {type(result).__name__}')


def _check_output(layer: Any, y: Any, x: Sequence | None = None) -> None:
    if not isinstance(y, Sequence):
        raise OutputError(f'must return a Sequence, returned {type(y).__name__}')
    spec = layer.output_spec
    if spec is not None and (y.channel_shape != spec.shape or y.dtype != spec.dtype):
        raise OutputError(f'declares the output {spec} and returned {y.channel_spec}')
    if x is not None:
        ratio = layer._facts.output_ratio
        if y.shape[1] * ratio.denominator != x.shape[1] * ratio.numerator:  # arithmetic of a Fraction is slow
            raise OutputError(
                f'returned {y.shape[1]} timesteps for {x.shape[1]}; its output ratio {ratio} demands '
                f'{x.shape[1] * ratio}'
            )
