"""The life of a layer: declared, built, run; and what the base class adds to the methods of an author."""

import copy
import inspect
import pickle
import time
import warnings
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from seqlayers import buffers, timing
from seqlayers.clock import clock, tick
from seqlayers.layer import children, walk

SPEC = sl.ChannelSpec((3,))
X = sl.Sequence.from_lengths(jnp.arange(24, dtype=jnp.float32).reshape(2, 4, 3), [4, 2])


# --- layers as an author writes them -------------------------------------------------------------------------


class Shift(sl.SequenceLayer):
    """Delays by `length` timesteps, in `layer` too."""

    length: int

    @property
    def timing(self):
        return sl.Timing(input_latency=self.length, receptive_field=(-self.length, -self.length))

    def get_initial_state(self, batch_size, *, training, constants=None):
        return buffers.empty(batch_size, self.length, self.input_spec)

    def layer(self, x, *, training, constants=None):
        return x.pad_time(self.length, 0)

    def step(self, x, state, *, training, constants=None):
        return buffers.push(state, x)


class Gain(sl.Stateless):
    """Multiplies by a parameter."""

    initial: float = 2.0

    def setup(self, input_spec, rngs, constants):
        self.gain = nnx.Param(jnp.full(input_spec.shape, self.initial))

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(lambda v: v * self.gain[...])


class Times(sl.Stateless):
    """Multiplies by a number; an integer keeps integers."""

    by: complex

    def layer(self, x, *, training, constants=None):
        return x.apply_values_masked(lambda v: v * self.by)


class Count(sl.SequenceLayer):
    """Adds the number of the timestep."""

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        return clock(batch_size, offset)

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + jnp.arange(v.shape[1], dtype=v.dtype)[:, None])

    def step(self, x, state, *, training, constants=None):
        times, state = tick(state, x.shape[1])
        return x.apply_values(lambda v: v + times[..., None].astype(v.dtype)), state


class Noise(sl.Stateless):
    """Returns one draw of its key for all values: a layer's randomness made visible."""

    def layer(self, x, *, training, constants=None):
        draw = jax.random.uniform(constants.layer_key()) if training else 0.0
        return x.apply_values(lambda v: v * 0 + draw)


class Reads(sl.Stateless):
    """Adds a constant."""

    entry: str = 'bias'

    def layer(self, x, *, training, constants=None):
        return x.apply_values(lambda v: v + constants[self.entry])


class Writes(sl.Stateless):
    """Leaves a constant for the layers after it."""

    def layer(self, x, *, training, constants=None):
        constants['bias'] = 100.0
        return x


class Pair(sl.SequenceLayer):
    """A combinator of an author: two children, one after the other."""

    first: sl.SequenceLayer = nnx.data()
    second: sl.SequenceLayer = nnx.data()

    @property
    def timing(self):
        return timing.serial([self.first.timing, self.second.timing])

    def setup(self, input_spec, rngs, constants):
        self.first = self.first.build(input_spec, rngs=rngs, constants=constants.at('first'))
        self.second = self.second.build(self.first.output_spec, rngs=rngs, constants=constants.at('second'))

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        offsets = [child for _, child in self.timing.plan(offset)[0]]  # none of the children needs a delay here
        return tuple(
            child.get_initial_state(batch_size, training=training, constants=constants, offset=offset)
            for child, offset in zip((self.first, self.second), offsets, strict=True)
        )

    def layer_with_emits(self, x, *, training, constants=None):
        x, first = self.first.layer_with_emits(x, training=training, constants=constants)
        x, second = self.second.layer_with_emits(x, training=training, constants=constants)
        return x, (first, second)

    def step_with_emits(self, x, state, *, training, constants=None):
        x, one, first = self.first.step_with_emits(x, state[0], training=training, constants=constants)
        x, two, second = self.second.step_with_emits(x, state[1], training=training, constants=constants)
        return x, (one, two), (first, second)


class FeedForward(sl.Composite):
    """A composition."""

    width: int = 4

    def body(self):
        return sl.Residual(
            [sl.Dense(self.width, activation=jnp.tanh), sl.Lookahead(1), sl.Emit(name='hidden'), sl.Dense(3)]
        )


def build(layer: sl.SequenceLayer, spec: sl.ChannelSpec = SPEC, **kwargs) -> sl.SequenceLayer:
    return layer.build(spec, rngs=nnx.Rngs(0), **kwargs)


def run(layer: sl.SequenceLayer, x: sl.Sequence = X, **kwargs) -> np.ndarray:
    return np.asarray(build(layer, x.channel_spec).layer(x, **{'training': False, **kwargs}).values)


# --- declared ------------------------------------------------------------------------------------------------


def test_a_declaration_holds_no_arrays_and_knows_its_time():
    layer = sl.Serial([sl.Dense(4), sl.Downsample1D(2), sl.Lookahead(3)])
    assert jax.tree.leaves(layer) == []
    assert not layer.is_built and layer.input_spec is None and layer.output_spec is None
    assert (layer.block_size, layer.output_ratio) == (2, Fraction(1, 2))
    assert (layer.output_latency, layer.receptive_field) == (3, (6, 6))
    assert layer.receptive_field_per_step == {0: (6, 6)} and layer.supports_step


def test_the_published_spelling():
    assert sl.Dense.Config(3, use_bias=False).make() == sl.Dense(3, use_bias=False)
    assert sl.Dense(3).copy(features=4) == sl.Dense(4)


def test_declarations_are_values():
    assert sl.Dense(3) == sl.Dense(features=3) and hash(sl.Dense(3)) == hash(sl.Dense(3))
    assert sl.Dense(3) != sl.Dense(4) and sl.Dense(3) != sl.Dense(3, name='last') and sl.Dense(3) != 3
    assert sl.Dense(3) != sl.DenseShaped(3)
    nested = [sl.Serial([sl.Dense(3), sl.Residual([sl.Dense(3)])]) for _ in range(2)]
    assert nested[0] == nested[1] and len(set(nested)) == 1
    assert sl.Scale(np.ones(3)) == sl.Scale(np.ones(3)) != sl.Scale(np.zeros(3))


def test_numbers_of_different_types_are_different_values():
    assert Gain(2) != Gain(2.0) and Gain(1) != Gain(True)
    spec = sl.ChannelSpec((), 'int32')
    for factor, dtype in ((2, 'int32'), (2.0, 'float32')):  # one must not take the output spec of the other
        assert Times(factor).build(spec, rngs=0).output_spec == sl.ChannelSpec((), dtype)


def test_built_layers_are_identities():
    declared = Gain()
    one, two = build(declared), build(declared)
    assert one == one and one != two and one != declared and declared != one
    assert len({one, two, declared}) == 3


def test_fields_cannot_be_reassigned():
    for layer in (Shift(2), build(Shift(2))):
        with pytest.raises(AttributeError, match=r'Shift.length is fixed .* layer.replace\(length=...\)'):
            layer.length = 3


def test_replace():
    layer = sl.Dense(3, name='out')
    assert layer.replace(features=4) == sl.Dense(4, name='out') and layer.features == 3
    with pytest.raises(AttributeError, match='Dense has no field feature; its fields are: features, use_bias'):
        layer.replace(feature=4)


def test_replace_of_a_built_layer_is_a_declaration_throughout():
    declared = sl.Serial([sl.Dense(3), Pair(FeedForward(), sl.Repeat(sl.Serial([Gain()]), 2))])
    assert build(declared).replace() == declared
    assert jax.tree.leaves(build(declared).replace(name='again')) == []
    kept = build(sl.Dense(3))
    assert sl.Serial([kept]).replace(name='again').layers[0] is kept  # built by the user, not by the Serial


def test_fields_are_made_hashable():
    assert sl.Serial([sl.Dense(3)]).layers == (sl.Dense(3),)
    assert sl.Serial(sl.Dense(n) for n in (1, 2)).layers == (sl.Dense(1), sl.Dense(2))
    assert sl.DenseShaped([2, 3]).output_shape == (2, 3)
    assert sl.Dense(3, param_dtype='bfloat16') == sl.Dense(3, param_dtype=jnp.bfloat16)
    table = np.ones(3)
    hash(sl.Scale(table))
    table[0] = 2.0  # the caller's array stays the caller's
    assert np.asarray(sl.Scale(np.ones(3)).scale).tolist() == [1.0, 1.0, 1.0]


def test_repr_is_what_one_writes():
    for layer in (sl.Dense(3, activation=jax.nn.relu, name='out'), sl.Serial([sl.Dense(3), Shift(2)]), FeedForward(8)):
        names = {'relu': jax.nn.relu, 'Shift': Shift, 'FeedForward': FeedForward}
        assert eval(repr(layer), {**vars(sl), **names}) == layer
    assert repr(build(Shift(2))) == '<Shift(2): ChannelSpec((3,), float32) -> ChannelSpec((3,), float32)>'


def test_help_shows_fields_and_what_the_base_class_adds():
    assert list(inspect.signature(Shift).parameters) == ['length', 'name']
    assert inspect.signature(sl.Dense).parameters['use_bias'].default is True
    assert list(inspect.signature(build(Gain()).layer).parameters) == ['x', 'training', 'constants', 'rng']
    state = inspect.signature(Shift.get_initial_state).parameters
    assert list(state) == ['self', 'batch_size', 'training', 'constants', 'offset', 'rng', 'max_length']
    assert Noise.__doc__.startswith('Returns one draw')

    class Undocumented(sl.Stateless):
        pass

    assert 'Undocumented(' not in (Undocumented.__doc__ or '')  # dataclasses invent one


# --- built ---------------------------------------------------------------------------------------------------


def test_build_leaves_the_declaration_as_it_was():
    declared = Gain()
    model = build(declared)
    assert model.is_built and not declared.is_built and not hasattr(declared, 'gain')
    assert (model.input_spec, model.output_spec) == (SPEC, SPEC)
    wide = build(declared, sl.ChannelSpec((7,)))
    assert wide.gain.shape == (7,) and model.gain.shape == (3,)


@pytest.mark.parametrize(
    'rngs', [0, nnx.Rngs(0), jax.random.key(0), jax.random.PRNGKey(0), jax.random.key(0, impl='rbg')], ids=str
)
def test_rngs(rngs):
    kernel = sl.Dense(3).build(SPEC, rngs=rngs).kernel[...]
    assert kernel.shape == (3, 3) and np.std(kernel) > 0.1


def test_a_repeated_declaration_makes_independent_blocks():
    model = build(sl.Serial([sl.Dense(3)] * 4))
    kernels = [np.asarray(layer.kernel[...]) for layer in model.layers]
    assert all((a != b).any() for i, a in enumerate(kernels) for b in kernels[:i])
    assert len(jax.tree.leaves(model)) == 8


def test_a_built_layer_is_used_as_it_is():
    dense = build(sl.Dense(3))
    model = build(sl.Serial([sl.Dense(3), sl.Residual([dense])]))
    assert model.layers[1].layers[0] is dense
    with pytest.raises(sl.LayerError, match=r'layers_0 \(Dense.build\): is built already, for .* cannot be used on'):
        sl.Serial([dense]).build(sl.ChannelSpec((4,)), rngs=0)


@pytest.mark.parametrize('twice', [sl.Dense(3), sl.Identity(), sl.Dropout(0.5)], ids=lambda layer: type(layer).__name__)
def test_a_built_layer_stands_in_one_place(twice):
    one = build(twice)
    with pytest.raises(
        sl.LayerError, match=r'the same built layer twice, at layers_0 and layers_1/layers_0.*sl\.Shared'
    ):
        build(sl.Serial([one, sl.Residual([one])]))


def test_a_parameter_stands_in_one_place():
    class Tied(sl.Stateless):
        def setup(self, input_spec, rngs, constants):
            self.one = self.two = nnx.Param(jnp.ones(3))

        def layer(self, x, *, training, constants=None):
            return x

    with pytest.raises(sl.LayerError, match=r'the same parameter twice, at \.one and \.two'):
        build(Tied())


def test_output_spec_comes_from_layer():
    assert build(sl.Dense(5)).output_spec == sl.ChannelSpec((5,))
    assert build(sl.Cast('bfloat16')).output_spec == sl.ChannelSpec((3,), 'bfloat16')
    assert build(Shift(2), sl.ChannelSpec((2, 2), 'int32')).output_spec == sl.ChannelSpec((2, 2), 'int32')
    bias = {'bias': jax.ShapeDtypeStruct((2, 1, 3), jnp.complex64)}  # what constants will be
    assert build(Reads(), constants=bias).output_spec.dtype == jnp.complex64


def test_children_and_walk():
    model = sl.Serial([sl.Dense(3, name='first'), Pair(FeedForward(), Shift(1))])
    for layer in (model, build(model)):
        assert [name for name, _ in children(layer)] == ['first', 'layers_1']
        assert [path for path, _ in walk(layer)][:5] == [
            '',
            'first',
            'layers_1',
            'layers_1/first',
            'layers_1/first/network',
        ]


# --- layer, step, state ------------------------------------------------------------------------------------------


def test_layer_and_steps_of_an_authors_layers():
    model = build(sl.Serial([Gain(3.0), Pair(Shift(1), FeedForward()), Count()]))
    sl.testing.check_contract(model).raise_if_failed()


def test_the_offset_reaches_those_that_ask():
    model = build(Pair(Shift(1), Count()))
    _, count = model.get_initial_state(2, training=False, offset=5)
    assert count.tolist() == [-5, -5]
    behind = build(sl.Serial([sl.Lookahead(3), Count()]))
    assert behind.get_initial_state(2, training=False)[1].tolist() == [-3, -3]


def test_an_offset_must_fit():
    with pytest.raises(sl.LayerError, match=r'Downsample1D.get_initial_state: starts only behind a multiple of 2 void'):
        build(sl.Downsample1D(2)).get_initial_state(1, training=False, offset=3)


def test_emits():
    model = build(sl.Serial([FeedForward(), sl.Emit(), Gain()]))
    y, emits = model.layer_with_emits(X, training=False)
    assert list(emits) == ['layers_0', 'layers_1', 'layers_2']
    body, shortcut = emits['layers_0']
    assert body['hidden'].channel_shape == (4,) and shortcut == {}
    assert type(emits['layers_1']) is sl.Sequence and emits['layers_2'] == ()
    state = model.get_initial_state(2, training=False)
    _, _, stepped = model.step_with_emits(X, state, training=False)
    assert jax.tree.structure(stepped) == jax.tree.structure(emits)
    np.testing.assert_allclose(model.layer(X, training=False).values, y.values)


def test_a_layer_may_define_either_form():
    class Tap(sl.Stateless):
        def layer_with_emits(self, x, *, training, constants=None):
            return x, {'tapped': x}

    tap = build(Tap())
    assert tap.layer(X, training=False) is X
    assert tap.step_with_emits(X, (), training=False) == (X, (), {'tapped': X})
    assert build(Gain()).layer_with_emits(X, training=False)[1] == ()
    assert (
        build(Shift(1)).step_with_emits(X, build(Shift(1)).get_initial_state(2, training=False), training=False)[2]
        == ()
    )


def test_super_is_checked_once_and_keeps_its_place():
    calls = []

    class Louder(Gain):
        def layer(self, x, *, training, constants=None):
            calls.append(constants.path)
            return super().layer(x, training=training, constants=constants)

    run(sl.Serial([Louder()]))
    assert calls == ['layers_0', 'layers_0']  # abstractly in build, then in layer


# --- constants and keys ------------------------------------------------------------------------------------------


def test_constants_reach_every_layer():
    model = sl.Serial(
        [sl.Residual([Reads()]), Pair(Reads(), sl.Repeat(Reads(), 2)), sl.Parallel([Reads()], combination='add')]
    )
    built = build(model, constants={'bias': 0.0})
    np.testing.assert_allclose(built.layer(X, training=False, constants={'bias': 1.0}).values, 2 * X.values + 5)
    state = built.get_initial_state(2, training=False, constants={'bias': 1.0})
    y, _ = built.step(X, state, training=False, constants={'bias': 1.0})
    np.testing.assert_allclose(y.values, 2 * X.values + 5)


def test_a_layer_hands_constants_to_its_later_siblings_only():
    given = {'bias': 1.0}
    model = build(sl.Serial([Reads(), sl.Serial([Writes(), Reads()]), Reads()]), constants=given)
    np.testing.assert_allclose(model.layer(X, training=False, constants=given).values, X.values + 102)
    assert given == {'bias': 1.0}


def test_a_missing_constant_names_the_layer():
    with pytest.raises(KeyError, match='bias') as error:
        run(sl.Serial([sl.Serial([Reads()])]))
    assert any(note.startswith('in layers_0/layers_0 (Reads.') for note in error.value.__notes__)


def test_every_place_draws_its_own():
    key = jax.random.key(1)
    model = build(sl.Parallel([Noise(), Noise(), sl.Serial([Noise()]), sl.Repeat(Noise(), 2)]))
    draws = model.layer(X, training=True, rng=key).values[0, 0, :, 0]
    assert len(set(draws.tolist())) == 4
    np.testing.assert_array_equal(model.layer(X, training=True, rng=key).values[0, 0, :, 0], draws)
    assert not np.isin(model.layer(X, training=True, rng=jax.random.key(2)).values[0, 0, :, 0], draws).any()
    jitted = jax.jit(lambda m, k: m.layer(X, training=True, rng=k))
    np.testing.assert_array_equal(jitted(model, key).values[0, 0, :, 0], draws)
    stepped, _ = model.step(X, model.get_initial_state(2, training=True), training=True, rng=key)
    np.testing.assert_array_equal(stepped.values[0, 0, :, 0], draws)


def test_repetitions_draw_their_own():
    class Add(Noise):
        def layer(self, x, *, training, constants=None):
            return x.apply_values(lambda v: v + jax.random.uniform(constants.layer_key())) if training else x

    once, twice = (run(sl.Repeat(Add(), n), training=True, rng=jax.random.key(0)) - X.values for n in (1, 2))
    assert not np.allclose(2 * once, twice)


def test_a_layer_that_draws_asks_for_a_key():
    with pytest.raises(
        sl.LayerError, match=r'layers_1 \(Noise.layer\): draws random numbers .* rng=jax.random.key\(0\)'
    ):
        run(sl.Serial([Gain(), Noise()]), training=True)


def test_keys_of_all_kinds():
    noise = build(Noise())
    keys = [jax.random.key(3), jax.random.PRNGKey(3), jax.random.key(3, impl='rbg'), jax.random.key(4, impl='rbg')]
    typed, legacy, rbg, other = (float(noise.layer(X, training=True, rng=key).values[0, 0, 0]) for key in keys)
    assert typed == legacy and len({typed, rbg, other}) == 3

    @jax.jit
    def both(key):  # rbg by itself would draw other bits in steps
        model = build(sl.Serial([sl.Lookahead(1), sl.Dropout(0.5)]))
        layer, steps = model.layer(X, training=True, rng=key), sl.step_by_step(model, X, training=True, rng=key)
        return layer.mask_invalid().values, steps.mask_invalid().values

    layer, steps = both(keys[2])
    np.testing.assert_array_equal(layer, steps)
    assert 0 < (layer != 0).sum() < (X.values[:, 1:] * X.mask[:, 1:, None] != 0).sum()


@pytest.mark.parametrize('rng', [0, nnx.Rngs(0)], ids=['seed', 'Rngs'])
def test_what_is_no_key_is_refused(rng):
    with pytest.raises(sl.LayerError, match=r'rng must be a JAX key, such as jax.random.key\(0\); got'):
        run(Noise(), training=True, rng=rng)


# --- errors that help ------------------------------------------------------------------------------------------

MODEL = sl.Serial([sl.Dense(3), sl.Residual([sl.Dense(4), sl.Downsample1D(2), sl.Upsample1D(2), sl.Dense(3)])])


@pytest.mark.parametrize(
    ('use', 'says'),
    [
        (
            lambda m: MODEL.layer(X, training=False),
            r"Serial.layer: is a declaration.*layer.build\(sl.ChannelSpec\(\(3,\), 'float32'\)",
        ),
        (lambda m: MODEL.step(X, (), training=False), 'Serial.step: is a declaration.*Build it first'),
        (lambda m: MODEL.get_initial_state(1, training=False), 'Serial.get_initial_state: is a declaration'),
        (
            lambda m: m.layer(X.values, training=False),
            r'Serial.layer: takes a Sequence, got Array.*Sequence.from_values\(array\)',
        ),
        (lambda m: m.layer(np.ones((1, 4, 3)), training=False), 'takes a Sequence, got ndarray.*Sequence.from_values'),
        (
            lambda m: m.layer(X[:, :, :2], training=False),
            r'was built for channels \(3,\) and got \(2,\) \(input float32\[2, 4, 2\]',
        ),
        (lambda m: m.layer(X[:, :, 0], training=False), r'was built for channels \(3,\) and got \(\)'),
        (
            lambda m: m.layer(X.astype('int32'), training=False),
            r"was built for float32 and got int32. Convert .* x.astype\('float32'\)",
        ),
        (
            lambda m: m.step(X[:, :3], start(m), training=False),
            r'multiple of block_size=2 timesteps, got 3. Valid: 2, 4, 6.*pad_to_multiple\(2\)',
        ),
        (
            lambda m: m.step(X, (), training=False),
            'Serial.step: the state must be a tuple of 2, got a tuple of 0. It comes from',
        ),
        (lambda m: m.step(X, None, training=False), 'the state must be a tuple of 2, got NoneType'),
        (
            lambda m: MODEL.build((3,), rngs=0),
            r'Serial.build: input_spec must be a ChannelSpec, as sl.ChannelSpec\(\(80,\)\); got \(3,\)',
        ),
        (
            lambda m: sl.Serial([MODEL, sl.Residual([sl.Dense(2)])]).build(SPEC, rngs=0),
            r'layers_1 \(Residual.build\): adds channels \(2,\)',
        ),
        (
            lambda m: sl.Serial([MODEL, sl.Dense(2)]).build(sl.ChannelSpec(()), rngs=0),
            r'layers_0/layers_0 \(Dense.build\): maps the last',
        ),
    ],
)
def test_a_newcomers_errors_read_like_help(use, says):
    with pytest.raises(sl.LayerError, match=says):
        use(build(MODEL))


def start(model):
    return model.get_initial_state(2, training=False)


def test_a_float_mask_is_explained():
    with pytest.raises(TypeError, match=r'mask must be boolean .* Write mask > 0'):
        sl.Sequence(X.values, jnp.ones((2, 4)))


def test_errors_inside_name_the_innermost_layer_once():
    class Picky(sl.Stateless):
        def layer(self, x, *, training, constants=None):
            if training:
                raise sl.LayerError('does not like training')
            return x

    model = build(sl.Serial([Gain(), sl.Residual([Pair(Picky(), Gain())])]))
    with pytest.raises(sl.LayerError) as error:
        model.layer(X, training=True)
    assert str(error.value) == 'layers_1/layers_0/first (Picky.layer): does not like training'


def test_other_errors_keep_their_type_and_get_a_note():
    def breaks(v):
        return v @ jnp.ones((2, 2)) if v.shape[1] != 1 else v  # fine on the one timestep that build tries

    model = build(sl.Serial([Gain(), sl.Serial([sl.Lambda(breaks)])]))
    with pytest.raises(TypeError, match='dot_general') as error:
        model.layer(X, training=False)
    notes = [note for note in error.value.__notes__ if note.startswith('in ')]
    assert notes == ['in layers_1/layers_0 (Lambda.layer), input Sequence(float32[2, 4, 3], lengths=[4, 2])']


def test_a_layer_that_cannot_step_says_why():
    class Whole(sl.SequenceLayer):
        @property
        def timing(self):
            return sl.Timing(blocked='it needs the whole sequence')

        def layer(self, x, *, training, constants=None):
            return x

    declared = sl.Serial([Gain(), sl.Residual([Whole()]), sl.Serial([Whole()], name='end')])
    assert not declared.supports_step
    text = declared.explain_streamability()
    assert text.splitlines()[0] == 'Serial cannot step, because of'
    assert '- layers_1/layers_0 (Whole()): it needs the whole sequence' in text
    assert '- end/layers_0 (Whole()): it needs' in text and 'Gain' not in text
    model = build(declared)
    assert model.layer(X, training=False).shape == X.shape
    for use in (lambda: start(model), lambda: model.step(X, (), training=False)):
        with pytest.raises(
            sl.LayerError, match=r'Serial.*cannot run in steps: it needs the whole sequence.*explain_streamability'
        ):
            use()
    assert Whole().explain_streamability().splitlines()[1].startswith('- the layer itself (Whole())')
    assert build(Gain()).explain_streamability().startswith('Gain streams: block size 1')


# --- authors' mistakes -----------------------------------------------------------------------------------------


def test_a_layer_must_define_layer():
    class Nothing(sl.SequenceLayer):
        pass

    with pytest.raises(sl.LayerError, match=r'Nothing.build: defines neither layer nor layer_with_emits'):
        build(Nothing())


def test_a_layer_must_define_step_or_say_that_it_has_none():
    class OnlyLayer(sl.SequenceLayer):
        def layer(self, x, *, training, constants=None):
            return x

    with pytest.raises(sl.LayerError, match=r'defines neither step nor step_with_emits.*sl\.Stateless.*timing'):
        build(OnlyLayer())


@pytest.mark.parametrize(
    ('method', 'fn', 'wanted'),
    [
        ('layer', lambda self, x: x, r'\(self, x, \*, training, constants=None\)'),
        ('layer', lambda self, x, *, training: x, 'constants'),
        ('layer', lambda self, *, training, constants=None: None, r'\(self, x, '),
        ('layer_with_emits', lambda self, x, state, *, training, constants=None: x, 'state'),
        ('step', lambda self, x, *, training, constants=None: x, r'\(self, x, state, \*, training'),
        ('step_with_emits', lambda self, x, state, *, constants=None: x, 'training'),
        ('get_initial_state', lambda self, *, training, constants=None: (), r'\(self, batch_size, '),
        ('setup', lambda self, input_spec, rngs: None, r'\(self, input_spec, rngs, constants\)'),
    ],
)
def test_wrong_signatures_are_found_when_the_class_is_made(method, fn, wanted):
    with pytest.raises(TypeError, match=f'must take.*{wanted}'):
        type('Wrong', (sl.Stateless,), {method: fn})


def test_any_function_may_be_a_method():
    class Borrowed(sl.Stateless):
        layer = lambda self, x, **kwargs: x.mask_invalid()  # noqa: E731

    assert build(Borrowed()).layer(X, training=False).values[1, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ('method', 'body', 'says'),
    [
        ('layer', lambda x: x.values, 'Broken.build: .*must return a Sequence, returned'),
        ('step', lambda x: (x[:, :1], ()), 'Broken.step: returned 1 timesteps for 4; its output ratio 1 demands 4'),
        ('step', lambda x: (x[:, :, :1], ()), r'declares the output .*\(3,\).* and returned .*\(1,\)'),
        ('step', lambda x: (x.astype('bfloat16'), ()), 'float32.* and returned .*bfloat16'),
    ],
)
def test_outputs_are_checked(method, body, says):
    methods = {
        'layer': lambda self, x, *, training, constants=None: body(x) if method == 'layer' else x,
        'step': lambda self, x, state, *, training, constants=None: body(x),
    }
    broken = type('Broken', (sl.SequenceLayer,), methods)
    with pytest.raises(sl.LayerError, match=says):
        build(broken()).step(X, (), training=False)


def test_a_composite_needs_a_body():
    class Empty(sl.Composite):
        pass

    with pytest.raises(NotImplementedError, match=r'Empty is a Composite and must define body\(self\)'):
        Empty().timing  # noqa: B018


def test_a_composite_is_its_body():
    layer, body = FeedForward(5), FeedForward(5).body()
    assert (layer.output_latency, layer.receptive_field) == (body.output_latency, body.receptive_field) == (1, (0, 1))
    model, plain = build(layer), build(body)
    np.testing.assert_allclose(model.layer(X, training=False).values, plain.layer(X, training=False).values)
    assert model.output_spec == plain.output_spec == SPEC
    assert jax.tree.structure(start(model)) == jax.tree.structure(start(plain))
    assert 'network/layers/0/kernel' in {'/'.join(map(str, k)) for k, _ in nnx.to_flat_state(nnx.state(model))}


# --- copies, and what they cost --------------------------------------------------------------------------------


@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), nnx.clone])
def test_copies_do_not_retrace(duplicate):
    declared = sl.Serial([sl.Dense(3, activation=jax.nn.relu, name='out'), FeedForward(), sl.Repeat(Gain(), 2)])
    model = build(declared)
    traces = []

    @jax.jit
    def forward(model, x):
        traces.append(1)
        return model.layer(x, training=False).values

    expected = forward(model, X)
    np.testing.assert_array_equal(forward(duplicate(model), X), expected)
    assert not (forward(declared.build(SPEC, rngs=1), X) == expected).all()
    assert len(traces) == 1
    other = duplicate(build(Gain()))
    assert other.gain is not None and other != model
    if duplicate is not nnx.clone:
        assert duplicate(declared) == declared


def test_a_deep_copy_has_variables_of_its_own():
    model = build(Gain())
    other = copy.deepcopy(model)
    other.gain[...] = jnp.zeros(3)
    assert model.gain[...].tolist() == [2.0, 2.0, 2.0]


def test_the_overhead_of_a_call():
    """Microseconds of Python for each layer of a chain, which runs no operation on an array."""
    layers = 50
    model = build(sl.Serial([sl.Identity()] * layers))
    state = start(model)

    def cost(call) -> float:
        times = []
        for _ in range(30):
            begin = time.process_time()
            call()
            times.append(time.process_time() - begin)
        return min(times) / layers * 1e6

    assert cost(lambda: model.layer(X, training=False)) < 10
    assert cost(lambda: model.step(X, state, training=False)) < 15


def test_output_specs_know_64_bits():
    """What was built before tells nothing of JAX in another mode."""
    cast = sl.Cast('float64')
    with warnings.catch_warnings(action='ignore'):  # of the truncation
        assert cast.build(sl.ChannelSpec((3,)), rngs=0).output_spec.dtype == jnp.float32
    with jax.enable_x64(True):
        assert cast.build(sl.ChannelSpec((3,)), rngs=0).output_spec.dtype == jnp.float64
