import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqlayers as sl
from seqlayers import Conditioning
from seqlayers.initializers import ones
from seqlayers.testing import first_difference, random_values


def sequence(*shape: int, seed: int = 0) -> sl.Sequence:
    return sl.Sequence.from_values(random_values(sl.ChannelSpec(shape[2:]), shape[:2], seed))


def run(layer: sl.SequenceLayer, x: sl.Sequence, **constants) -> sl.Sequence:
    """What `layer` gives, which must be what steps give."""
    model = layer.build(x.channel_spec, rngs=0, constants=constants)
    y = model.layer(x, training=False, constants=constants)
    assert first_difference(y, sl.step_by_step(model, x, constants=constants)) is None
    return y


def test_scale_and_shift():
    x = sl.Sequence.from_values(jnp.full((1, 2, 1), 3.0))
    y = run(Conditioning('c', 'linear_affine', 'affine', kernel_init=ones), x, c=jnp.full((1, 1), 2.0))
    assert y.values.ravel().tolist() == [11, 11]


@pytest.mark.parametrize(
    ('combination', 'wanted'),
    [
        ('add', lambda x, c: x + c),
        ('mul', lambda x, c: x * c),
        ('concat', lambda x, c: np.concatenate([x, c], -1)),
        ('concat_before', lambda x, c: np.concatenate([c, x], -1)),
        ('affine_shift', lambda x, c: x + c),
        ('affine_scale', lambda x, c: x * (c + 0.5)),
    ],
)
def test_combinations(combination, wanted):
    x, c = sequence(2, 4, 3), sequence(2, 4, 2, 5, seed=1)
    model = Conditioning('c', 'linear', combination, affine_scale_offset=0.5).build(
        x.channel_spec, rngs=0, constants={'c': c}
    )
    y = model.layer(x, training=False, constants={'c': c})
    projected = np.einsum('btij,ijo->bto', c.values, model.kernel[...]) + np.asarray(model.bias[...])
    np.testing.assert_allclose(y.values, wanted(np.asarray(x.values), projected), atol=1e-5)


@pytest.mark.parametrize(
    ('projection', 'combination', 'target', 'x', 'c', 'y'),
    [
        ('identity', 'add', None, (3, 1, 5), (2, 5), (3, 2, 5)),
        ('identity', 'concat', None, (2, 5), (), (2, 6)),
        ('linear', 'concat', None, (), (5,), (2,)),
        ('linear', 'concat', (2, 1), (2, 5), (7,), (2, 6)),
        ('linear', 'mul', (), (2, 5), (7,), (2, 5)),
        ('linear_affine', 'affine', (), (3,), (), (3,)),
    ],
)
def test_channels_are_broadcast(projection, combination, target, x, c, y):
    layer = Conditioning('c', projection, combination, projection_channel_shape=target)
    assert run(layer, sequence(2, 3, *x), c=sequence(2, 3, *c)).channel_shape == y


def test_kernel_has_the_variance_of_all_inputs():
    c = jnp.ones((1, 16, 32))
    model = Conditioning('c', 'linear_affine', 'affine').build(sl.ChannelSpec((40,)), rngs=0, constants={'c': c})
    assert model.kernel.shape == (16, 32, 2, 40)
    assert abs(np.std(model.kernel[...]) * np.sqrt(16 * 32) - 1) < 0.02


def test_each_timestep_has_its_own_until_the_end():
    layer = Conditioning('c', 'identity', 'add')
    y = run(
        layer, sl.Sequence.from_values(jnp.zeros((2, 5))), c=sl.Sequence.from_lengths(jnp.ones((1, 3)).cumsum(1), [2])
    )
    assert y.values[:, :2].tolist() == [[1, 2], [1, 2]]
    assert y.mask.tolist() == [[True, True, False, False, False]] * 2


def test_one_timestep_serves_all():
    x = sequence(2, 5, 3)
    moment = sequence(2, 1, 3, seed=1)
    y = run(Conditioning('c', 'identity', 'add'), x, c=moment)
    np.testing.assert_array_equal(y.values, x.values + moment.values)
    assert y.mask.all()
    assert run(Conditioning('c', 'identity', 'add', streaming=True), x, c=moment).lengths().tolist() == [1, 1]


@pytest.mark.parametrize('streaming', [False, True])
def test_late_data_meet_their_conditioning(streaming):
    x = sl.Sequence.from_values(jnp.arange(1.0, 7)[None])
    layer = sl.Serial([sl.Lookahead(1), Conditioning('c', 'identity', 'add', streaming=streaming)])
    y = run(layer, x, c=sl.Sequence.from_values(10 * jnp.arange(1.0, 7)[None]))
    assert y.values.tolist() == [[12, 23, 34, 45, 56]]


def test_streams_by_hand():
    x, c = sequence(2, 6, 3), sequence(2, 6, 3, seed=1)
    layer = sl.Serial([sl.Lookahead(1), Conditioning('c', 'identity', 'mul', streaming=True)])
    model = layer.build(x.channel_spec, rngs=0, constants={'c': c})
    state, outputs = model.get_initial_state(2, training=False), []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        y, state = model.step(x[:, start:stop], state, training=False, constants={'c': c[:, start:stop]})
        outputs.append(y.values)
    np.testing.assert_array_equal(np.concatenate(outputs, 1)[:, 1:], (x.values[:, 1:] * c.values[:, :5]))


def test_repetitions_read_the_same_conditioning():
    x, c = sequence(2, 4, 3), sequence(2, 4, 3, seed=1)
    y = run(sl.Repeat(Conditioning('c', 'identity', 'add', streaming=True), 2), x, c=c)
    np.testing.assert_allclose(y.values, x.values + 2 * c.values, atol=1e-6)
    late = sl.Repeat(sl.Serial([sl.Lookahead(1), Conditioning('c', 'identity', 'add', streaming=True)]), 2)
    model = late.build(x.channel_spec, rngs=0, constants={'c': c})
    with pytest.raises(sl.LayerError, match=r'another shape in each repetition.*Write Serial'):
        model.get_initial_state(2, training=False, constants={'c': c})


def test_dtypes():
    def output(c_dtype, **fields):
        c = jnp.ones((1, 3), c_dtype)
        model = Conditioning('c', combination='add', **fields).build(
            sl.ChannelSpec((3,), 'bfloat16'), rngs=0, constants={'c': c}
        )
        return model.output_spec.dtype

    assert output('bfloat16', projection='identity') == jnp.bfloat16
    assert output('float32', projection='identity') == jnp.float32
    assert output('bfloat16', projection='linear') == jnp.float32
    assert output('bfloat16', projection='linear', compute_dtype='bfloat16') == jnp.bfloat16


def test_modes_by_name():
    by_member = Conditioning('c', Conditioning.Projection.LINEAR, Conditioning.Combination.AFFINE_SCALE)
    assert by_member == Conditioning('c', 'linear', 'affine_scale')
    assert sl.from_config(json.loads(json.dumps(sl.to_config(by_member)))) == by_member
    x, c = sequence(1, 2, 3), sequence(1, 2, 3, seed=1)
    assert first_difference(run(Conditioning('c', 'LINEAR', 'AFFINE_SCALE'), x, c=c), run(by_member, x, c=c)) is None


def test_upsampling():
    c = sl.Sequence.from_lengths(jnp.array([[1.0, 2.0, 3.0]]), [2])
    layer = sl.UpsampleConditioning('c', 'identity', 'add', upsample_ratio=3)
    y = run(layer, sl.Sequence.from_values(jnp.zeros((1, 8))), c=c)
    assert y.values[0, :6].tolist() == [1, 1, 1, 2, 2, 2]
    assert y.lengths().tolist() == [6]


def test_noise_is_fresh_at_every_timestep():
    x = sl.Sequence.from_values(jnp.zeros((2, 50, 3)))
    model = sl.NoiseConditioning(sl.AddNoise.Normal(1.0, 2.0), 'identity', 'add').build(x.channel_spec, rngs=0)
    y = model.layer(x, training=False, rng=jax.random.key(0)).values
    assert len(np.unique(y)) == y.size
    assert abs(y.mean() - 1) < 0.5 and abs(y.std() - 2) < 0.3
    with pytest.raises(sl.LayerError, match='got no key'):
        model.layer(x, training=False)


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('declare', 'match'),
    [
        (lambda: Conditioning('c', 'quadratic', 'add'), 'projection must be one of identity, .*got .quadratic'),
        (lambda: Conditioning('c', 'linear', 'minus'), 'combination must be one of add, .*got .minus'),
        (lambda: Conditioning('c', 'linear', 'affine'), 'affine needs projection linear_affine, got linear'),
        (lambda: Conditioning('c', 'identity', 'affine_scale'), 'affine_scale needs projection linear, got identity'),
        (lambda: Conditioning('c', 'linear_affine', 'add'), 'add needs projection identity or linear, got linear_aff'),
        (lambda: sl.UpsampleConditioning('c', 'linear', 'add', upsample_ratio=0), 'must be at least 1, got 0'),
        (lambda: sl.UpsampleConditioning('c', 'linear', 'add', upsample_ratio=2, streaming=True), 'another rate'),
        (lambda: sl.NoiseConditioning(sl.AddNoise.Normal(), 'linear', 'affine'), 'NoiseConditioning: combination'),
    ],
)
def test_wrong_declarations(declare, match):
    with pytest.raises(sl.LayerError, match=match):
        declare()


def test_wrong_conditioning():
    x, c = sequence(2, 4, 3), sequence(2, 4, 5)
    layer = sl.Serial([Conditioning('speaker', 'linear', 'add')])
    with pytest.raises(sl.LayerError, match=r"layers_0 .*reads constants\['speaker'\], an array.*\(given: none\)"):
        layer.build(x.channel_spec, rngs=0)
    model = layer.build(x.channel_spec, rngs=0, constants={'speaker': c})

    def use(c):
        model.layer(x, training=False, constants={'speaker': c})

    with pytest.raises(sl.LayerError, match=r'built for a Sequence of .*\(5,\).* and got a Sequence of .*\(3,\)'):
        use(x)
    with pytest.raises(sl.LayerError, match=r'built for a Sequence of .* got an array of'):
        use(c.values[:, 0])
    with pytest.raises(sl.LayerError, match=r"constants\['speaker'\] must be an array .*, and is \[1.0\]"):
        use([1.0])
    with pytest.raises(sl.LayerError, match='has a batch of 4 and the input one of 2'):
        use(c.concatenate(c).replace(values=jnp.tile(c.values, (2, 1, 1)), mask=jnp.tile(c.mask, (2, 1))))


def test_streamed_conditioning_needs_the_rate_of_the_input():
    x, c = sequence(2, 4, 3), sequence(2, 4, 3, seed=1)
    layer = sl.Serial([sl.Downsample1D(2), Conditioning('c', 'identity', 'add', streaming=True)])
    model = layer.build(x.channel_spec, rngs=0, constants={'c': c})
    state = model.get_initial_state(2, training=False, constants={'c': c})
    with pytest.raises(sl.LayerError, match=r'come 2 timesteps of input and 4 of the constant.*must keep the rate'):
        model.step(x, state, training=False, constants={'c': c})
