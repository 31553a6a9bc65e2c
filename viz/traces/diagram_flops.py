"""Floating point operations of a layer's step, counted in what JAX traces, so that nothing is compiled or run."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

import seqlayers as sl
from seqlayers.summary import LayerSummary

# Operations that give floating point numbers and compute none.
_MOVES = {
    'broadcast_in_dim', 'concatenate', 'convert_element_type', 'copy', 'dynamic_slice',
    'dynamic_update_slice', 'gather', 'imag', 'optimization_barrier', 'pad', 'real', 'reshape', 'rev', 'scatter',
    'select_n', 'slice', 'split', 'squeeze', 'stop_gradient', 'transpose',
}  # fmt: skip

_KNOWN: dict[tuple, int | None] = {}


def step_flops(layer: LayerSummary, constants: Mapping[str, Any]) -> int | None:
    """What the smallest step of a built layer computes; None if it has none, or a number of loops that is not known.

    A multiplication and an addition are two operations, any other function of a number is one, moving numbers none.

    Args:
      layer: with a state; of repetitions one is counted.
      constants: what the layer finds there, layers included.
    """
    declaration = layer.layer.replace()
    key = declaration, layer.input_spec, str(layer.state), len(layer.repeats)
    if constants or key not in _KNOWN:
        count = _traced(layer, constants)
        if constants:
            return count
        _KNOWN[key] = count
    return _KNOWN[key]


def _traced(summary: LayerSummary, constants: Mapping[str, Any]) -> int | None:
    def shapes(tree: Any) -> Any:
        """Of one repetition."""
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[len(summary.repeats) :], a.dtype), tree)

    def step(layer: Any, x: sl.Sequence, state: Any, layers: dict) -> Any:
        return layer.step(x, state, training=False, constants={**constants, **layers})

    spec, block = summary.layer.input_spec, summary.layer.block_size
    x = sl.Sequence(jax.ShapeDtypeStruct((1, block, *spec.shape), spec.dtype), jax.ShapeDtypeStruct((1, block), bool))
    layers = {name: value for name, value in constants.items() if isinstance(value, sl.SequenceLayer)}
    try:
        jaxpr = jax.make_jaxpr(step)(shapes(summary.layer), x, shapes(summary.state), layers)
        return _count(jaxpr.jaxpr)
    except (sl.LayerError, _UnknownError):  # it needs what stands around it, or loops until a condition holds
        return None


class _UnknownError(Exception):
    pass


def _count(jaxpr: Any) -> int:
    return sum(map(_count_equation, jaxpr.eqns))


def _count_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    inner = list(jaxprs_in_params(params))
    outputs = [var.aval for var in equation.outvars]
    if name == 'while':
        raise _UnknownError
    if name == 'scan':
        return params['length'] * _count(params['jaxpr'].jaxpr)
    if name == 'cond':
        return max(_count(branch.jaxpr) for branch in params['branches'])
    if name == 'dot_general':
        (contracted, _), _ = params['dimension_numbers']
        return 2 * outputs[0].size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    if name == 'conv_general_dilated':
        kernel = equation.invars[1].aval
        taps = kernel.size // kernel.shape[params['dimension_numbers'].rhs_spec[0]]
        inserted = math.prod(params['lhs_dilation'])  # a transposed one works on so many zeros a number
        return 2 * outputs[0].size * taps // inserted
    if name == 'fft':
        length = math.prod(params['fft_lengths'])
        transforms = max(outputs[0].size, equation.invars[0].aval.size) // length
        return math.ceil(5 * transforms * length * math.log2(length))
    if inner and not name.startswith('scatter'):
        return sum(map(_count, inner))
    if name in _MOVES or not any(np.issubdtype(output.dtype, np.inexact) for output in outputs):
        return 0
    return max(value.aval.size for value in (*equation.invars, *equation.outvars))
