"""A long block and then single ones, and rows of different lengths: how models are served.

For every layer that looks back: of the registry those with attention, recurrence or another memory.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.streaming import constants as side_inputs
from seqlayers.streaming.step_by_step import scan_steps
from tests.registry import families
from tests.registry.case import Case

FAMILIES = ('attention', 'cross_attention', 'location_attention', 'recurrent', 'mixers')
CASES = [case for family in FAMILIES for case in families()[family] if case.layer.supports_step]

PREFILL, TIME = 16, 23  # the first is longer than the room that a ring has for blocks


def ragged(x: sl.Sequence, lengths: list[int]) -> sl.Sequence:
    return sl.Sequence(x.values, jnp.arange(x.shape[1]) < jnp.asarray(lengths)[:, None]).mask_invalid()


def to_multiple(n: int, of: int) -> int:
    return -(-n // of) * of


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.id)
def test_prefill_and_ragged_batches(case: Case):
    layer = case.layer
    prefill, time = (to_multiple(n, layer.block_size) for n in (PREFILL, TIME))
    batch = 6  # of the constants
    lengths = [time - 5, time, 5, 0, time - 1, 1]
    values = sl.testing.random_values(sl.ChannelSpec(case.channels, case.dtype), (batch, time), high=case.high)
    x = ragged(sl.Sequence.from_values(values), lengths)
    call, model = case.call(x), case.build(x)
    constants = call.pop('constants') or {}
    streamed, fixed = side_inputs.split(model, constants)
    # A source that streams ends with its row.
    streamed = {k: ragged(c, lengths) if isinstance(c, sl.Sequence) else c for k, c in streamed.items()}

    def whole(x, rows=slice(None)):
        def of_rows(a):
            return a[rows] if a.shape[0] == batch else a

        cut = {k: c[:, : x.shape[1]] for k, c in streamed.items()}
        return model.layer(x, constants=jax.tree.map(of_rows, {**fixed, **cut}), **call)

    def stepped(x):
        """One block of all that is known, and then single ones with the flush."""
        end = to_multiple(time + layer.input_latency, layer.block_size)
        x, long = x.unmask().pad_time(0, end - time), side_inputs.pad_to(streamed, end)
        first, rest = (
            {**fixed, **{k: c[:, part] for k, c in long.items()}} for part in (np.s_[:prefill], np.s_[prefill:])
        )
        state = model.get_initial_state(batch, max_length=end, constants={**fixed, **long}, **call)
        y, state = model.step(x[:, :prefill], state, constants=first, **call)
        ys, _ = scan_steps(model, x[:, prefill:], state, layer.block_size, constants=rest, **call)
        return y.concatenate(ys)[:, layer.output_latency :]

    # Random draws belong to the place in the batch.
    alone = [0] if case.training else [0, 2]

    @jax.jit
    def run(x):
        rows = [whole(x[i : i + 1, : lengths[i]], slice(i, i + 1)) for i in alone]
        return whole(x), stepped(x), rows

    together, in_steps, rows = run(x)
    assert not sl.testing.first_difference(together, in_steps)
    for i, row in zip(alone, rows, strict=True):
        assert row.mask.any()
        assert not sl.testing.first_difference(row, together[i : i + 1])
