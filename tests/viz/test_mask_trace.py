"""Masks at every edge against the layers run one after the other."""

import numpy as np
import pytest

import seqlayers as sl
import viz
from tests.viz.models import MODELS, model, noise

MASKS = np.array([[1, 1, 1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 1, 1, 1], [0] * 10], bool)


def test_masks_are_those_of_each_layer_in_turn():
    trace = viz.trace_mask(model('convolutions'), MASKS)
    x = sl.Sequence(noise(10, batch=3).values, MASKS)
    for layer, edge, mask in zip(model('convolutions').layers, trace.edges[1:], trace.masks[1:], strict=True):
        x = layer.layer(x, training=False)
        np.testing.assert_array_equal(mask, x.mask)
        assert mask.shape[1] == x.shape[1]
        assert edge.name == type(layer).__name__


def test_masks_inside_branches():
    trace = viz.trace_mask(model('branches'), MASKS)
    names = ['input', 'Conv1D', 'Lookahead', 'Conv1D', 'Residual', 'Delay', 'Lookahead', 'Parallel']
    assert [edge.name for edge in trace.edges] == names
    conv, look = trace.masks[1], trace.masks[2]
    np.testing.assert_array_equal(look, conv[:, 2:])
    np.testing.assert_array_equal(trace.masks[4], trace.masks[3] & conv[:, : look.shape[1]])
    y = model('branches').layer(sl.Sequence(noise(10, batch=3).values, MASKS), training=False)
    np.testing.assert_array_equal(trace.masks[-1], y.mask)


def test_lost_and_gained_compare_a_timestep_with_the_same_time_before():
    trace = viz.trace_mask(sl.Serial([sl.Lookahead(1), sl.Downsample1D(2)]), [1, 0, 1, 1, 0, 0])
    assert trace.masks[1].tolist() == [[False, True, True, False, False]]
    assert trace.lost(1).tolist() == [True, False, False, True, False]
    assert trace.gained(1).tolist() == [False, True, False, False, False]
    assert trace.masks[2].tolist() == [[False, True, False]]
    assert not trace.lost(2).any()
    assert not trace.gained(2).any()


def test_branches_that_meet_are_compared_with_all_of_them():
    layer = sl.Parallel([sl.Identity(), sl.Delay(1)], combination='add')
    trace = viz.trace_mask(layer, [1, 0, 1, 1])
    branches = [trace.masks[source][0][:4] for source in trace.edges[-1].sources]
    assert np.array_equal(trace.masks[-1][0][:4], np.logical_and(*branches))
    assert not np.array_equal(*branches)
    assert not (trace.lost(len(trace.edges) - 1) | trace.gained(len(trace.edges) - 1))[:4].any()


def test_a_mask_of_one_sequence_and_a_declaration_are_enough():
    trace = viz.trace_mask(MODELS['window'], [1, 1, 1, 1, 1, 0])
    assert trace.masks[1].tolist() == [[True, True, False]]
    assert repr(trace) == 'MaskTrace(Conv1D: 5 of 6 input timesteps valid, 2 of 3 output timesteps)'


@pytest.mark.parametrize('mask', [True, np.ones((1, 2, 3), bool), []])
def test_a_mask_of_another_shape_is_refused(mask):
    with pytest.raises(ValueError, match=r'trace_mask: the mask must have the shape \(time,\)'):
        viz.trace_mask(MODELS['window'], mask)


def test_a_declaration_that_does_not_fit_the_default_says_what_to_give():
    with pytest.raises(sl.LayerError) as error:
        viz.trace_mask(sl.Embedding(dimension=2, num_embeddings=3), [1] * 8)
    assert 'input_spec=sl.ChannelSpec(...)' in ''.join(error.value.__notes__)
