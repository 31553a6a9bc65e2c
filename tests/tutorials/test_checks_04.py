"""The exercises of lesson 04: right answers pass, stubs do not, and a common mistake is told its idea."""

from fractions import Fraction

import numpy as np
import pytest

import checks
import seqlayers as sl
from tests.tutorials.verdicts import check_mistake, check_unwritten


def final_outputs(n, block, ratio, latency):
    return max(0, int(n // block * block * ratio) - latency)


def padded(x, n, valid):
    return sl.Sequence(np.pad(x.values, ((0, 0), (0, n))), np.pad(x.mask, ((0, 0), (0, n)), constant_values=valid))


def repeated(x, n):
    return sl.Sequence(*(np.concatenate([v, np.repeat(v[:, -1:], n, axis=1)], axis=1) for v in (x.values, x.mask)))


ANSWERS = {
    checks.final_outputs: final_outputs,
    checks.delay_before: lambda offset, align: -offset % align,
    checks.flush_with: lambda x, n: x.pad_time(0, n),
}
MISTAKES = [
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: max(0, n / block * block * float(ratio) - latency),
        'you say 1.562, not 1: 1,000 samples hold one full block, not 1.56',
    ),
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: n * float(ratio) - latency,
        '1,000 samples hold one full block, not 1.56',
    ),
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: max(0, int(n * ratio) - latency),
        'case 1: you say 3, not 2: 7 samples hold one full block, not 1.75: what does not fill a block of 4 waits',
    ),
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: int(n // block * block * ratio) - latency,
        'you say -2, not 0: -2 outputs cannot be: until 3 have been dropped',
    ),
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: int(max(0, n // block - latency) * block * ratio),
        'the latency counts outputs, not blocks',
    ),
    (
        checks.final_outputs,
        lambda n, block, ratio, latency: int(n // block * block * ratio),
        'the first outputs are void: drop as many',
    ),
    (checks.final_outputs, lambda n, block, ratio, latency: None, 'you say None, not 1'),
    (
        checks.delay_before,
        lambda offset, align: offset % align,
        'case 2: you say 1, not 2: equal for align 1 and 2, that is why tests miss it; offset 1, align 3: 2 more steps '
        'reach 3, you say 1',
    ),
    (checks.delay_before, lambda offset, align: align - offset % align, 'offset 2 is a multiple of 2 already'),
    (checks.delay_before, lambda offset, align: offset + -offset % align, 'that is the offset behind the delay'),
    (
        checks.delay_before,
        lambda offset, align: max(0, align - offset) if offset % align else 0,
        'case 3: you say 0, not 3: the offset may be more than the alignment',
    ),
    (checks.delay_before, lambda offset, align: align - offset, 'a delay cannot take steps away'),
    (
        checks.flush_with,
        lambda x, n: padded(x, n, True),
        'timestep 6 is valid: zeros that are *valid* are data: after 1..6 the centred sum gives one output more, 6, '
        'which `layer` does not have. Append invalid steps',
    ),
    (checks.flush_with, repeated, 'the last sample again is data too'),
    (checks.flush_with, lambda x, n: x, 'nothing is appended, so the last outputs stay inside'),
    (checks.flush_with, lambda x, n: x.pad_time(n, 0), 'the steps stand before the data'),
    (
        checks.flush_with,
        lambda x, n: x.pad_time(0, 1),
        'has the shape (2, 4), not (2, 5): one is not',
    ),
    (checks.flush_with, lambda x, n: x.values, 'the result is a ndarray, not a Sequence'),
    (
        checks.flush_with,
        lambda x, n: sl.Sequence(np.zeros((x.shape[0], x.shape[1] + n)), padded(x, n, False).mask),
        'item 0: timestep 0 holds another value',
    ),
]


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_a_right_answer_passes(exercise):
    verdict = exercise(ANSWERS[exercise])
    assert verdict.passed, verdict.message
    assert verdict.message == 'ok: 40 cases'
    assert verdict.picture.finding


@pytest.mark.parametrize(('exercise', 'wrong', 'words'), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_a_mistake_is_told_its_idea(exercise, wrong, words):
    check_mistake(exercise(wrong), words)


@pytest.mark.parametrize('exercise', ANSWERS, ids=lambda e: type(e).__name__)
def test_an_empty_stub_does_not_pass(exercise):
    check_unwritten(exercise)


def test_final_outputs_are_those_of_a_model():
    """The exercise's answer against the library: a stream that is not closed."""
    declaration = sl.Serial([sl.Conv1D(1, kernel_size=3, padding='same'), sl.Downsample1D(3), sl.Upsample1D(2)])
    model = declaration.build(sl.ChannelSpec((1,)), rngs=0)
    for n in 0, 2, 3, 7, 12:
        timing = model.block_size, Fraction(model.output_ratio), model.output_latency
        pushed = sl.Stream(model).push(np.ones((1, n, 1), np.float32)).shape[1]
        assert checks.final_outputs.answer(n, *timing) == pushed


def test_flush_cases_have_every_mask():
    masks = np.concatenate([x.mask for x, _ in checks.flush_with.cases() if x.shape[1] == 8])
    assert (~masks).all(1).any() and masks.all(1).any() and (~masks[:, 0] & masks.any(1)).any()


def test_latency_explorer_follows_its_sliders():
    def declare(window, look_ahead):
        return sl.Serial([sl.Frame(window, frame_step=160), sl.Lookahead(look_ahead)])

    explorer = checks.LatencyExplorer(declare, window=160, look_ahead=0)
    assert repr(explorer) == ('LatencyExplorer(Window 160, look-ahead 0: the first output after 160 samples, 10 ms)')
    before = bytes(explorer.image.value)
    explorer.window.value, explorer.look_ahead.value = 161, 2
    assert explorer.finding() == 'Window 161, look-ahead 2: the first output after 640 samples, 40 ms'
    assert bytes(explorer.image.value) != before
    assert explorer._repr_mimebundle_()[0]['image/png'].startswith(b'\x89PNG')


def test_letters_that_are_wrong_are_struck_out():
    picture = checks.plot_letters({'input': 'ab-'}, 'A finding', {'wrong': '.b '})
    assert picture.finding == 'A finding'
    assert len(picture.axes[0].lines) == 1
