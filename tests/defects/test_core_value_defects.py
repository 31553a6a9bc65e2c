"""Known defects of the published library, part two: values, dtypes and errors of single layers.

The numbers are those of our list of them. Each docstring says what is wrong there, the test what is right.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqlayers as sl
from tests.defects.helpers import build, conv, line, run, shown, whole


def test_q1_padding_with_other_values_than_zero_is_not_masked():
    """The published MaskedSequence stays one when invalid timesteps of other values are added, so nobody masks them
    any more."""
    x = sl.Sequence.from_values(jnp.ones((1, 3, 1))).pad_time(1, 1, valid=False, pad_value=7)
    assert type(x) is sl.Sequence
    assert x.mask_invalid().values.ravel().tolist() == [0, 1, 1, 1, 0]
    assert run(conv(3, padding='same'), x).values.ravel()[1:4].tolist() == [2, 3, 2]


def test_q6_an_activation_of_zero_need_not_be_zero():
    """The published convolution of one tap without bias returns exp(0) = 1 at invalid timesteps, as if it were zero."""
    x = line([1, 2, 3], '110').mask_invalid()
    y = run(conv(1, activation=jnp.exp), x)
    assert type(y) is sl.Sequence
    np.testing.assert_allclose(y.mask_invalid().values.ravel(), [np.e, np.e**2, 0], rtol=1e-6)
    plain = run(conv(1), x)
    assert type(plain) is sl.MaskedSequence and plain.values.ravel().tolist() == [1, 2, 0]


def test_q7_a_step_of_another_dtype_is_refused():
    """In the published library it changes the dtype of the state, and of every output after it."""
    x = line([1, 2, 3, 4])
    model = build(conv(3, padding='causal'), x)
    state = model.get_initial_state(1, training=False)
    with pytest.raises(sl.LayerError, match=r"built for float32 and got bfloat16.*x.astype\('float32'\)"):
        model.step(x.astype(jnp.bfloat16), state, training=False)
    with pytest.raises(sl.LayerError, match='state must be a tuple of 1, got a tuple of 2'):
        build(sl.Serial([model]), x).step(x, (state, state), training=False)


@pytest.mark.parametrize('convolution', [sl.Conv1DTranspose, sl.Conv2DTranspose])
def test_q8_a_transposed_convolution_trains_the_estimate_of_its_norm(convolution):
    """The published one never does, so its kernel is divided by the estimate that it began with."""
    model = convolution(3, 2, kernel_constraint=sl.SpectralWeightNormalization()).build(
        sl.ChannelSpec((4,) if convolution is sl.Conv1DTranspose else (2, 4)), rngs=0
    )
    x = sl.Sequence.from_values(jnp.ones((1, 2, *model.input_spec.shape)))
    train = nnx.jit(lambda model: model.layer(x, training=True).values)
    for _ in range(40):
        train(model)
    matrix = np.asarray(model.kernel[...]).reshape(-1, 3)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    np.testing.assert_allclose(model.effective_kernel().reshape(-1, 3), matrix / largest, rtol=1e-3)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'int8', 'int32', 'bool'])
@pytest.mark.parametrize(('layer', 'pick'), [(sl.MaxPooling1D, max), (sl.MinPooling1D, min)])
def test_q10_pooling_of_every_real_dtype(layer, pick, dtype):
    """The published ones reject bfloat16."""
    values = np.array([1, 0, 0, 1]) if dtype == 'bool' else np.array([-3, 2, 2, -7])
    y = run(layer(2, padding='reverse_causal'), sl.Sequence.from_values(jnp.asarray(values[None], dtype)))
    assert y.dtype == dtype
    assert y.values[0].tolist() == [pick(values[t : t + 2].tolist()) for t in range(4)]


def test_q10_averages():
    """Published: a masked average of integers divides by zero where nothing is valid, and one of int8 is an int32.

    As published, spatial padding counts in a masked average too."""
    masked = sl.AveragePooling1D(2, padding='causal', masked_average=True)
    x = sl.Sequence(jnp.array([[9, 9, 4, 9, 8]], jnp.int32), jnp.array([[False, False, True, False, True]]))
    y = run(masked, x)
    assert y.dtype == jnp.int32 and y.values[0].tolist() == [0, 0, 4, 4, 8]
    y = run(sl.AveragePooling1D(2), sl.Sequence.from_values(jnp.array([[100, 120, -5]], jnp.int8)))
    assert y.dtype == jnp.int8 and y.values[0].tolist() == [110, 57]  # the sums are not those of int8
    space = sl.AveragePooling2D((2, 3), time_padding='causal', masked_average=True)
    x = sl.Sequence(jnp.full((1, 2, 3), 3.0), jnp.array([[False, True]]))
    assert run(space, x).values[0, 1].tolist() == [2, 3, 2]


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (lambda: sl.FFT(padding='left'), "FFT.*padding must be 'right' or 'center'"),
        (lambda: sl.RFFT(0), r'RFFT\(fft_length=0\): fft_length must be at least 1'),
        (lambda: sl.IFFT(8).build(sl.ChannelSpec((4,), 'complex64'), rngs=0), 'length 8 with 8 values, got 4'),
        (
            lambda: sl.Window(1).build(sl.ChannelSpec((4, 2)), rngs=0),
            r'axis 1 must name axes of the channels \(4, 2\). Valid: 2 to 3, or -1 to -2',
        ),
    ],
)
def test_q12_fourier_transforms_check_their_arguments(make, says):
    """The published ones take any padding and length, and one message shows a placeholder instead of the axis."""
    with pytest.raises(sl.LayerError, match=says):
        make()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32'])
def test_q12_fourier_transforms_of_real_inputs(dtype):
    """The published FFT declares a real output, and RFFT fails on float16."""
    x = sl.Sequence.from_values(jnp.arange(8.0).reshape(1, 2, 4).astype(dtype))
    for layer, reference in ((sl.FFT(), np.fft.fft), (sl.RFFT(), np.fft.rfft)):
        model = build(layer, x)
        y = whole(model, x)
        assert model.output_spec == sl.ChannelSpec(y.channel_shape, 'complex64') == y.channel_spec
        np.testing.assert_allclose(y.values, reference(np.arange(8.0).reshape(1, 2, 4)), atol=1e-5)


def test_q12_windows_of_any_kind():
    """Published: no window crashes, one of zeros too, and a field leaves out where a window is negative."""
    x = line([1, 2, 3])
    assert run(sl.Window(-1, None), x).values.ravel().tolist() == [1, 2, 3]
    assert sl.STFT(4, 2, 4, window_fn=jnp.zeros).receptive_field is None
    signs = lambda length: np.array([0, -1, 1, 0])  # noqa: E731
    assert sl.STFT(4, 2, 4, window_fn=signs).receptive_field == (1, 2)


@pytest.mark.parametrize('layer', [sl.LayerNormalization, sl.RMSNormalization, sl.L2Normalize, sl.BatchNormalization])
def test_q13_a_normalization_never_reduces_over_time(layer):
    """The published ones take -2 on one channel axis, or -1 on none, for the axis of time."""
    for axis, channels in ((-2, (4,)), (-1, ()), (1, (4,))):
        with pytest.raises(sl.LayerError, match=rf'axis {axis} must name axes of the channels'):
            layer(axis=axis).build(sl.ChannelSpec(channels), rngs=0)


def test_q13_negative_axes_count_from_the_last_channel_axis():
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = sl.Sequence.from_values(values)
    root = np.sqrt((values**2).mean(2, keepdims=True) + 1e-6)
    np.testing.assert_allclose(run(sl.RMSNormalization(-2), x).values, values / root, atol=1e-5)
    length = np.sqrt((values**2).sum(2, keepdims=True))
    np.testing.assert_allclose(run(sl.L2Normalize(-2), x).values, values / length, atol=1e-5)


def test_q14_a_mean_of_integers_is_declared_as_what_it_is():
    """The published Parallel declares int32 and returns float32."""
    x = sl.Sequence.from_values(jnp.array([[[1], [4]]]))
    model = build(sl.Parallel([sl.Identity(), sl.Add(1)], combination='mean'), x)
    y = whole(model, x)
    assert model.output_spec.dtype == y.dtype == jnp.float32
    assert y.values.ravel().tolist() == [1.5, 4.5]


def test_q20_a_batch_without_a_valid_timestep_leaves_the_statistics():
    """In the published library they become NaN, and stay it."""
    x = line([2, 4])
    model = build(sl.BatchNormalization(momentum=0.5), x)
    model.layer(x, training=True)
    nothing = line([2, 4], '00')
    y = model.layer(nothing, training=True)
    assert model.mean[...].tolist() == [1.5] and model.var[...].tolist() == [1.0]  # (0 + 3) / 2 and (1 + 1) / 2
    assert np.isfinite(y.values).all() and shown(y.mask) == '00'


class Rounds(sl.SequenceLayer):
    """A layer that in steps returns another dtype than in `layer`."""

    def layer(self, x, *, training, constants=None):
        return x

    def step(self, x, state, *, training, constants=None):
        return x.astype(jnp.bfloat16), state


def test_q21_a_layer_that_returns_another_dtype_than_it_declares_is_an_error():
    """In the published library it is a warning."""
    x = line([1, 2])
    model = build(sl.Serial([Rounds()]), x)
    with pytest.raises(sl.LayerError, match=r'layers_0 \(Rounds.step\): declares the output .*float32.*bfloat16'):
        model.step(x, model.get_initial_state(1, training=False), training=False)
    assert model.layer(x, training=False).dtype == jnp.float32


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (lambda spec: sl.DepthwiseConv1D(3).build(spec, rngs=0), r'^DepthwiseConv1D.build: takes channels \(in\)'),
        (lambda spec: sl.Conv2D(1, 3).build(spec, rngs=0), r'^Conv2D.build: takes channels \(width, in\), got \(\)'),
        (lambda spec: sl.Frame(3, 1, padding='full'), r"^Frame\(3, .*: padding must be one of .* got 'full'"),
        (lambda spec: sl.Frame(3, 1, padding=(1, 2)), r'^Frame\(3, .*must sum to 2, .* got \(1, 2\)'),
    ],
)
def test_q22_errors_name_the_layer_and_what_it_takes(make, says):
    """Some published ones name another class or another rank."""
    with pytest.raises(sl.LayerError, match=says):
        make(sl.ChannelSpec(()))
