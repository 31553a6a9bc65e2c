"""What tests see in traced functions: what they compute, and of Pallas' kernels what a GPU would do."""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def accesses_are_masked(jaxpr: Any) -> list[bool]:
    """Of each `triton.load` and `triton.store` of the kernels inside, in turn, whether it has a mask.

    Blocks may be larger than their arrays: without masks a GPU would read and write what lies behind, which Pallas'
    interpreter never does.
    """
    found = []
    for equation in equations(jaxpr):
        if equation.primitive.name in ('masked_load', 'masked_swap'):
            arguments = jax.tree.unflatten(equation.params['args_tree'], equation.invars)
            mask = arguments[-2] if equation.primitive.name == 'masked_load' else arguments[-1]
            found.append(mask is not None)
    return found


def equations(jaxpr: Any) -> Iterator[Any]:
    """All of them, also inside of loops, calls, recomputations and kernels."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)
