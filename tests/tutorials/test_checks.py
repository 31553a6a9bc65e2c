"""The exercises of the lessons: right answers pass, stubs do not, and a common mistake is told its idea."""

import re
from pathlib import Path

import ipywidgets
import nbformat
import numpy as np
import pytest

import checks
import seqlayers as sl

TUTORIALS = Path(__file__).parents[2] / 'tutorials'
LESSONS = sorted(TUTORIALS.glob('[0-9]*.ipynb'))


# --- lesson 01 -----------------------------------------------------------------------------------------
def masked_mean(x):
    return x.mask_invalid().values.sum(1) / np.maximum(x.lengths(), 1)[:, None]


def last_valid(x):
    times = np.where(x.mask, np.arange(x.shape[1]), -1).max(1)
    return np.where(times[:, None] >= 0, x.values[np.arange(x.shape[0]), times], 0)


def last_by_argmax(x):
    return x.values[np.arange(x.shape[0]), x.shape[1] - 1 - np.argmax(x.mask[:, ::-1], axis=1)]


def mean_of_the_first(x):
    count = np.asarray(x.lengths())
    return np.stack([v[: max(n, 1)].mean(0) if n else v[0] * 0 for v, n in zip(x.values, count, strict=True)])


def nan_by_product(x):
    return (x.values * x.mask[..., None]).sum(1) / np.maximum(x.lengths(), 1)[:, None]


# --- lesson 02 -----------------------------------------------------------------------------------------
def stream(chunks, kernel, buffer, keep):
    outputs = []
    for chunk in chunks:
        joined = np.concatenate([buffer, chunk])
        outputs.append(np.convolve(joined, kernel, 'valid'))
        buffer = keep(joined, chunk)
    return outputs


def stream_conv(chunks, kernel):
    return stream(chunks, kernel, np.zeros(len(kernel) - 1), lambda joined, chunk: joined[len(chunk) :])


def without_state(chunks, kernel):
    return [np.convolve(chunk, kernel)[: len(chunk)] for chunk in chunks]


def one_too_many(chunks, kernel):
    k = len(kernel)
    return stream(chunks, kernel, np.zeros(k), lambda joined, chunk: joined[-k:])


def shrinking_buffer(chunks, kernel):
    return stream(chunks, kernel, np.zeros(len(kernel) - 1), lambda joined, chunk: chunk[1 - len(kernel) :])


def without_zeros(chunks, kernel):
    return stream(chunks, kernel, np.zeros(0), lambda joined, chunk: joined[1 - len(kernel) :])


def turned_around(chunks, kernel):
    return stream_conv(chunks, kernel[::-1])


def in_two(fn, x):
    return np.concatenate([fn(x[:2]), fn(x[2:])])


def needs_state(functions):
    x = np.random.default_rng(1).standard_normal((6, 2))
    return {name for name, fn in functions.items() if not np.allclose(fn(x), in_two(fn, x))}


def without_reversal(functions):
    x = np.random.default_rng(1).standard_normal((6, 2))
    return {name for name in needs_state(functions) if not np.array_equal(functions[name](x), x[::-1])}


ANSWERS = {
    checks.masked_mean: masked_mean,
    checks.last_valid: last_valid,
    checks.real_length: lambda values: None,
    checks.stream_conv: stream_conv,
    checks.needs_state: needs_state,
}
MISTAKES = [
    (
        checks.masked_mean,
        lambda x: x.mask_invalid().values.sum(1) / x.shape[1],
        'case 0: item 1 is 2, not 4: you divide by 4 timesteps, 2 exist',
    ),
    (checks.masked_mean, lambda x: x.values.sum(1) / (x.values != 0).sum(1), 'a zero in the data is data'),
    (checks.masked_mean, lambda x: x.values.sum(1) / x.lengths()[:, None], 'you count the values of invalid'),
    (checks.masked_mean, nan_by_product, 'NaN times 0 is NaN'),
    (checks.masked_mean, mean_of_the_first, 'the mask is 1 0 1 0. lengths() is 2, but they are'),
    (
        checks.masked_mean,
        lambda x: np.divide(x.mask_invalid().values.sum(1), x.lengths()[:, None]),
        'no timestep is valid: you divide 0 by 0',
    ),
    (checks.masked_mean, lambda x: masked_mean(x)[:, 0], 'the result has the shape (2,), not (2, 1)'),
    (checks.masked_mean, lambda x: masked_mean(x) + 1, 'case 0: item 0 is 2.5, not 1.5'),
    (checks.last_valid, lambda x: x.values[:, -1], 'that is the end of the rectangle'),
    (
        checks.last_valid,
        lambda x: x.values[np.arange(x.shape[0]), x.lengths() - 1],
        'Mask 1 0 1 0: lengths() is 2, the last valid step has index 2',
    ),
    (checks.last_valid, last_by_argmax, 'no timestep is valid, so there is none to take'),
    (checks.real_length, lambda values: int((values != 0).sum()), 'you say 2: 4 4 0 0 are the values of two'),
    (checks.real_length, len, 'you say 4: 4 4 0 0 are the values of two'),
    (checks.stream_conv, without_state, 'case 0: output 4 is 5, not 12: you start each chunk anew'),
    (checks.stream_conv, one_too_many, 'chunk 0 has 4 samples and gives 5 outputs: one output too many'),
    (checks.stream_conv, shrinking_buffer, 'right for chunks >= 2; for chunks of 1 your buffer shrank'),
    (checks.stream_conv, without_zeros, 'before the first sample there are zeros'),
    (checks.stream_conv, turned_around, 'your kernel is the wrong way round'),
    (
        checks.stream_conv,
        lambda c, k: np.concatenate(stream_conv(c, k)),
        'the result is a ndarray, not a list',
    ),
    (checks.needs_state, without_reversal, 'time reversal missing: reversal is wrong already for two chunks'),
    (checks.needs_state, lambda f: needs_state(f) - {'3-tap sum'}, '3-tap sum missing: cut a signal in two'),
    (checks.needs_state, lambda f: needs_state(f) | {'dense'}, 'dense does not belong: it looks at'),
    (checks.needs_state, lambda f: set(f) - needs_state(f), 'these are the ones that may be called'),
    (
        checks.needs_state,
        lambda f: {'3-tap sum', 'cumulative sum', 'time reversal'},
        'there is no such function in this case: decide by a test',
    ),
    (checks.needs_state, lambda f: sorted(needs_state(f)), 'the result is a list, not a set of names'),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert re.match(r'ok: (40 cases|it cannot be done)', verdict.message)
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
@pytest.mark.filterwarnings('ignore:invalid value encountered', 'ignore:divide by zero')
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    verdict = exercise(wrong)
    assert not verdict.passed
    assert words in verdict.message
    assert verdict.picture.finding


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    verdict = exercise(stub)
    assert not verdict.passed
    assert verdict.message.startswith('not written yet: stub')


def test_an_error_names_its_case():
    with pytest.raises(KeyError) as error:
        checks.masked_mean(lambda x: {}['x'])
    assert 'on case 0 of 40' in error.value.__notes__[0]


def test_masks_are_of_every_kind_and_poisoned():
    masks = np.concatenate([x.mask for (x,) in checks.masked_mean.cases() if x.shape[1] == 8])
    lengths = masks.sum(1)
    prefix = masks == (np.arange(8) < lengths[:, None])
    assert (lengths == 0).any() and (lengths == 8).any()
    assert (prefix.all(1) & (lengths > 0) & (lengths < 8)).any()
    assert (~masks[:, 0] & (lengths > 0)).any() and (~prefix.all(1) & masks[:, 0]).any()
    assert all(np.isnan(x.values[~x.mask]).all() for (x,) in checks.masked_mean.cases()[6:])


def test_splits_have_chunks_of_one():
    sizes = [[len(chunk) for chunk in chunks] for chunks, _ in checks.stream_conv.cases()]
    assert [1] * 8 in sizes and len(set(map(tuple, sizes))) > 30


# --- solutions -------------------------------------------------------------------------------------------
def test_a_solution_stands_in_for_a_stub_only():
    ours, again = lambda: 'ours', lambda: 'again'
    assert checks.solution(stub)(ours)() == 'ours'
    assert checks.solution(ours)(again)() == 'again'  # the solution cell was edited and run again
    assert checks.solution(lambda: 'yours')(again)() == 'yours'


def test_the_verdict_says_whose_answer_it_was():
    message = '(our solution: yours is not written yet)'
    assert checks.masked_mean(checks.solution(stub)(lambda x: masked_mean(x))).message.endswith(message)
    assert message not in checks.masked_mean(lambda x: masked_mean(x)).message


@pytest.mark.parametrize('path', LESSONS, ids=lambda p: p.stem)
def test_solutions_are_folded(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        is_solution = 'solution' in cell.metadata.get('tags', [])
        assert is_solution == cell.metadata.get('jupyter', {}).get('source_hidden', False)


# --- pictures, and the map ---------------------------------------------------------------------------------
def test_mask_explorer_follows_its_buttons():
    explorer = checks.MaskExplorer([3, 0, -2, 5], mask=[1, 0, 1, 0])
    assert repr(explorer) == 'MaskExplorer(mean 0.5, lengths() 2, last valid step 2)'
    before = bytes(explorer.image.value)
    explorer.buttons[3].value = True
    assert explorer.finding() == 'mean 2, lengths() 3, last valid step 3'
    assert bytes(explorer.image.value) != before
    for button in explorer.buttons:
        button.value = False
    assert explorer.finding() == 'nothing is valid: no mean, lengths() 0, no last valid step'
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle['image/png'].startswith(b'\x89PNG')
    assert isinstance(explorer.box, ipywidgets.VBox)


def test_plot_sequence_says_how_much_is_valid():
    x = sl.Sequence.from_lengths(np.zeros((2, 4, 1)), [4, 2])
    assert checks.plot_sequence(x).finding == '6 of 8 timesteps are valid'


def test_lanes_have_names_and_units():
    picture, (first, second) = checks.lanes('A finding', {'clip': 'seconds', 'spectrum': 'Hz'})
    assert picture.finding == 'A finding'
    assert (first.get_xlabel(), second.get_xlabel()) == ('seconds', 'Hz')
    assert first.get_position().y0 > second.get_position().y1


def test_the_map_lists_every_lesson():
    linked = re.findall(r'\]\((\d\d_\w+\.ipynb)\)', (TUTORIALS / 'README.md').read_text())
    assert linked == [path.name for path in LESSONS]
