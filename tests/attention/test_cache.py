"""The ring buffer: what it holds, how it is written, and that nobody copies it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers.attention.cache import SLACK, RingCache
from seqlayers.attention.core import KeyValues, hide, visible

SPEC = sl.ChannelSpec((2, 3))
PREFILL_THEN_ONE = (30, 1, 1, 1, 1)


def block(first, m, batch=2):
    """Entries that say in their keys which timestep they are; every fifth is hidden."""
    times = jnp.broadcast_to(first + jnp.arange(m), (batch, m))
    keys = jnp.broadcast_to(times[:, None, :, None].astype(jnp.float32), (batch, 2, m, 3))
    return KeyValues(keys, -keys, hide(times, times % 5 != 4))


def seen_by(sources, time, past, future):
    """The timesteps, in order of time, whose entries a query at `time` sees, for each row; read from the keys."""
    rows = []
    for row in range(len(sources[0].times)):
        found = []
        for keys, values, times, *_ in sources:
            seen = visible(np.full((1, 1), time), times[row : row + 1], past, future)[0, 0]
            assert np.array_equal(values[row], -keys[row])
            found += keys[row, 0, seen, 0].tolist()
        rows.append(sorted(found))
    return rows


@pytest.mark.parametrize('past, future', [(3, 0), (3, 5), (17, 2)])
@pytest.mark.parametrize(
    'sizes', [(1,), (2,), (3, 5, 1), (SLACK,), (SLACK + 1,), (11, 0, 23, 1), (60,), PREFILL_THEN_ONE]
)
def test_every_query_finds_its_window(past, future, sizes):
    window, time = past + future, 0
    cache = RingCache.empty(2, window, SPEC, SPEC, offset=0)
    append = jax.jit(lambda cache, new: cache.append(new))
    while time < 70:
        for m in sizes:
            before = cache
            cache, sources = append(cache, block(time, m))
            sources = jax.tree.map(np.asarray, sources)
            for query in range(time - future, time - future + m):
                wanted = [t for t in range(max(0, query - past), query + future + 1) if t % 5 != 4]
                assert seen_by(sources, query, past, future) == [wanted, wanted]
            assert 0 <= cache.slot.min() <= cache.slot.max() < cache.size
            columns = np.asarray(before.columns(m, window))[0]
            keys = np.concatenate([s.keys[0, 0, :, 0] for s in sources])[columns]
            first = max(0, window - time)  # before the stream there is nothing
            assert np.array_equal(keys[first:], np.arange(time - window, time + m)[first:])
            time += m


def attention(**changes):
    fields = {'num_heads': 4, 'units_per_head': 8, 'max_past_horizon': 119, **changes}
    return sl.DotProductSelfAttention(**fields).build(sl.ChannelSpec((5,)), rngs=0)


@pytest.mark.parametrize('batch, m', [(1, 1), (3, 1), (1, 4), (3, SLACK)])
@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'max_future_horizon': 2},
        {'num_kv_heads': 1, 'input_projection': sl.QueryAndKeyValueProjection(), 'num_sink_embeddings': 2},
        {'compute_dtype': 'bfloat16'},
    ],
    ids=['plain', 'future', 'one key head', 'bfloat16'],
)
def test_a_step_writes_the_cache_in_place(batch, m, changes):
    model = attention(**changes)
    x = sl.Sequence.from_values(jnp.zeros((batch, m, 5)))
    state = model.get_initial_state(batch, training=False)
    step = jax.jit(lambda x, state: model.step(x, state, training=False), donate_argnums=1).lower(x, state).compile()
    shape = ','.join(map(str, state.cache.entries.keys.shape))
    program = step.as_text()
    assert f'[{shape}]' in program
    assert not re.findall(rf'\[{shape}\]\S* copy\(', program)


def test_a_copy_would_be_noticed():
    """The same without donation must copy the cache once, for keys and values each."""
    model = attention()
    x = sl.Sequence.from_values(jnp.zeros((3, 1, 5)))
    state = model.get_initial_state(3, training=False)
    step = jax.jit(lambda x, state: model.step(x, state, training=False)).lower(x, state).compile()
    shape = ','.join(map(str, state.cache.entries.keys.shape))
    assert len(re.findall(rf'\[{shape}\]\S* copy\(', step.as_text())) == 2


# --- rows of a batch live their own lives -----------------------------------------------------------
def random_input(batch, time, seed=0):
    draw = np.random.default_rng(seed)
    return sl.Sequence(
        jnp.asarray(draw.standard_normal((batch, time, 5)), jnp.float32),
        jnp.asarray(draw.random((batch, time)) < 0.8),
    )


def stepper(model):
    return jax.jit(lambda x, state: model.step(x, state, training=False))


def run(model, x, m, state=None):
    """All outputs, masked, in steps of `m`."""
    step, outputs = stepper(model), []
    state = model.get_initial_state(len(x.values), training=False) if state is None else state
    for t in range(0, x.shape[1], m):
        y, state = step(x[:, t : t + m], state)
        outputs.append(y.mask_invalid())
    return sl.Sequence.concatenate_sequences(outputs)


def assert_same(a, b):
    assert np.array_equal(a.mask, b.mask)
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)


SMALL = {'num_heads': 2, 'units_per_head': 3, 'max_past_horizon': 5, 'max_future_horizon': 2}


def test_every_leaf_has_a_batch_axis():
    model = attention(**SMALL)
    state = model.get_initial_state(7, training=False)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {7}


def test_a_row_may_start_anew_among_others():
    model = attention(**SMALL)
    x, fresh = random_input(2, 40), random_input(2, 20, seed=1)
    joined = x.replace(values=x.values.at[1, 20:].set(fresh.values[1]), mask=x.mask.at[1, 20:].set(fresh.mask[1]))
    step, outputs = stepper(model), []
    state = initial = model.get_initial_state(2, training=False)
    for t in range(40):
        if t == 20:
            state = jax.tree.map(lambda now, start: now.at[1].set(start[1]), state, initial)
        y, state = step(joined[:, t : t + 1], state)
        outputs.append(y.mask_invalid())
    y = sl.Sequence.concatenate_sequences(outputs)
    assert_same(y[:1], run(model, x, 1)[:1])
    assert_same(y[1:, 20:], run(model, fresh, 1)[1:])


def test_a_row_may_rest_while_others_go_on():
    model = attention(**SMALL)
    x = random_input(2, 40)
    step, outputs, t = stepper(model), [], 0
    state = model.get_initial_state(2, training=False)
    for tick in range(55):
        rests = 10 <= tick < 25
        now = x[:, t : t + 1] if not rests else random_input(2, 1, seed=tick)
        y, new = step(now, state)
        state = jax.tree.map(lambda a, b: b.at[1].set(a[1]), state, new) if rests else new
        if not rests:
            outputs.append(y.mask_invalid()[1:])
            t += 1
    assert_same(sl.Sequence.concatenate_sequences(outputs), run(model, x, 1)[1:])


def test_the_clock_may_wrap():
    model = attention(**SMALL)
    x = random_input(2, 40)
    state = model.get_initial_state(2, training=False)
    late = 2**31 - 15
    entries = state.cache.entries._replace(times=state.cache.entries.times + late)
    old = state._replace(time=state.time + late, cache=state.cache._replace(entries=entries))
    assert_same(run(model, x, 3, old), run(model, x, 3))
