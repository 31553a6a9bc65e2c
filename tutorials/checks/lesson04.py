"""Exercises of lesson 04: how many outputs are final, the delay before a stride, and what brings out the last ones."""

from fractions import Fraction
from typing import Any

import numpy as np

import seqlayers as sl

from .exercise import Exercise
from .pictures import Row, number, plot_rows, sequence_row

CASES = 40
SHOWN = 12  # blocks


class WholeNumber(Exercise):
    """A function from whole numbers to a whole number."""

    def difference(self, target: int, yours: Any) -> str | None:
        return None if yours == target else f'you say {_words(yours)}, not {target}'


class FinalOutputs(WholeNumber):
    """How many outputs are final after `n` inputs."""

    def cases(self) -> list[tuple]:
        """Rover's ear, in parts; then layers of many rates."""
        cases = [
            (1_000, 640, Fraction(1, 640), 0),
            (7, 4, Fraction(1, 2), 0),
            (640, 640, Fraction(1, 640), 3),
            (12, 4, Fraction(1, 2), 2),
            (44_580, 640, Fraction(1, 640), 3),
            (5, 1, Fraction(2), 1),
            (0, 2, Fraction(1, 2), 0),
        ]
        draw = np.random.default_rng(0)
        for _ in range(CASES - len(cases)):
            up, down, repeats, latency = draw.integers((1, 1, 1, 0), (4, 6, 4, 5)).tolist()
            block = down * repeats
            cases.append((int(draw.integers(0, 12 * block)), block, Fraction(up, down), latency))
        return cases

    def answer(self, n: int, block: int, ratio: Fraction, latency: int) -> int:
        """Block by block, and output by output."""
        emitted = 0
        while n >= block:
            n, emitted = n - block, emitted + block * ratio
        return len(range(int(emitted))[latency:])

    def facts(self, case: tuple, target: int, yours: Any) -> dict[str, Any]:
        n, block, _, latency = case
        full = 'one full block' if n // block == 1 else f'{n // block} full blocks'
        blocks = f'{n / block:.3g}'
        return {'n': f'{n:,}', 'full': full, 'blocks': blocks, 'yours': yours, 'latency': latency, 'block': block}

    def mistakes(self):
        yield (
            '{yours} outputs cannot be: until {latency} have been dropped there is none. Use max(0, ...)',
            lambda n, block, ratio, latency: int(n // block * block * ratio) - latency,
        )
        yield (
            'the latency counts outputs, not blocks: take it off at the end',
            lambda n, block, ratio, latency: int(max(0, n // block - latency) * block * ratio),
        )
        yield (
            'the first outputs are void: drop as many as the latency says',
            lambda n, block, ratio, latency: int(n // block * block * ratio),
        )
        for exact in (lambda value: value, int, round):
            for least in (0, -np.inf):
                yield (
                    '{n} samples hold {full}, not {blocks}: what does not fill a block of {block} waits',
                    lambda n, block, ratio, latency, exact=exact, least=least: max(
                        least, exact(float(n * ratio)) - latency
                    ),
                )

    def picture(self, case: tuple, target: int, yours: Any, title: str):
        n, block, ratio, latency = case
        full, rest = divmod(n, block)
        blocks = range(max(0, full - SHOWN), full)
        final = [str(self.answer((i + 1) * block, *case[1:])) for i in blocks]
        beside = (str(target), 'valid'), (_words(yours), 'fed' if yours == target else 'first')
        waits = [str(rest)] * (rest > 0)
        detail = f'the last {SHOWN}' if full > SHOWN else ''
        marks = ['valid'] * len(blocks) + ['future'] * len(waits)
        rows = [
            Row('blocks', [str(block)] * len(blocks) + waits, marks, detail=detail),
            Row('outputs that are final', final, ['lane'] * len(blocks), beside),
        ]
        what = f'{n:,} inputs in blocks of {block}, ratio {ratio}, latency {latency}. White: what waits.'
        return plot_rows(rows, title, what, ('target', 'yours'))


class DelayBefore(WholeNumber):
    """The least delay after which an offset is a multiple of the alignment."""

    def cases(self) -> list[tuple]:
        small = [(1, 2), (2, 2), (1, 3), (5, 4), (0, 4), (7, 1)]
        draw = np.random.default_rng(0)
        return small + [tuple(draw.integers((0, 1), (12, 7)).tolist()) for _ in range(CASES - len(small))]

    def answer(self, offset: int, align: int) -> int:
        """Try them all."""
        return next(q for q in range(align) if (offset + q) % align == 0)

    def facts(self, case: tuple, target: int, yours: Any) -> dict[str, Any]:
        offset, align = case
        more = 'no more step is' if target == 0 else 'one more step is' if target == 1 else f'{target} more steps are'
        multiple = offset + target
        return {'offset': offset, 'align': align, 'more': more, 'target': target, 'multiple': multiple, 'yours': yours}

    def mistakes(self):
        yield (
            'equal for align 1 and 2, that is why tests miss it; offset {offset}, align {align}: {target} more steps '
            'reach {multiple}, you say {yours}',
            lambda offset, align: offset % align,
        )
        yield (
            'offset {offset} is a multiple of {align} already: no delay is needed',
            lambda offset, align: align - offset % align,
        )
        yield (
            'the offset may be more than the alignment: take the remainder',
            lambda offset, align: max(0, align - offset) if offset % align else 0,
        )
        yield 'a delay cannot take steps away, it adds some', lambda offset, align: align - offset
        yield (
            'that is the offset behind the delay; the delay is the difference',
            lambda offset, align: offset + self.answer(offset, align),
        )

    def picture(self, case: tuple, target: int, yours: Any, title: str):
        offset, align = case
        is_number = isinstance(yours, int) and 0 <= yours <= 2 * SHOWN
        rows = [_delayed('target', offset, target, 'now')]
        rows.append(_delayed('yours', offset, yours if is_number else 0, 'fed' if yours == target else 'differs'))
        time = max(len(row.marks) for row in rows)
        what = f'Dashed cells are void, filled ones are the delay. Dashed lines: multiples of {align}.'
        return plot_rows(rows, title, what, breaks=range(0, time + 1, align))


class FlushWith(Exercise):
    """A sequence with `n` timesteps behind it that bring out the last outputs, and add none of their own."""

    def cases(self) -> list[tuple]:
        small = [
            (_sequence([[1, 2, 3, 4, 5, 6]], [[1] * 6]), 1),
            (_sequence([[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [1, 0, 0]]), 2),
            (_sequence([[1, 2, 3]], [[1, 1, 1]]), 0),
        ]
        spec, draw = sl.ChannelSpec(()), np.random.default_rng(0)
        for seed in range(CASES - len(small)):
            x = sl.testing.poison(sl.testing.random_sequence(spec, 8, seed))
            small.append((sl.Sequence(np.asarray(x.values), np.asarray(x.mask)), int(draw.integers(1, 4))))
        return small

    def answer(self, x: sl.Sequence, n: int) -> sl.Sequence:
        return sl.Sequence(_extended(x.values, n, 0), _extended(x.mask, n, False))

    def difference(self, target: sl.Sequence, yours: Any) -> str | None:
        if not isinstance(yours, sl.Sequence):
            return f'the result is a {type(yours).__name__}, not a Sequence'
        if yours.shape != target.shape:
            return f'the result has the shape {yours.shape}, not {target.shape}'
        mask, values = np.asarray(yours.mask), np.asarray(yours.values)
        wrong = np.argwhere(mask != target.mask)
        if len(wrong):
            item, time = wrong[0]
            return f'item {item}: timestep {time} is {"valid" if mask[item, time] else "invalid"}'
        wrong = np.argwhere(mask & (values != target.values))
        return f'item {wrong[0][0]}: timestep {wrong[0][1]} holds another value' if len(wrong) else None

    def facts(self, case: tuple, target: Any, yours: Any) -> dict[str, Any]:
        values = np.where(case[0].mask[0], case[0].values[0], 0)
        said = '1..6' if values.tolist() == [1, 2, 3, 4, 5, 6] else 'these samples'
        return {'data': said, 'last': number(values[-1]), 'n': case[1]}

    def mistakes(self):
        yield (
            'zeros that are *valid* are data: after {data} the centred sum gives one output more, {last}, which '
            '`layer` does not have. Append invalid steps',
            lambda x, n: sl.Sequence(_extended(x.values, n, 0), _extended(x.mask, n, True)),
        )
        yield (
            'the last sample again is data too, and changes the last output. Append invalid steps',
            lambda x, n: sl.Sequence(
                np.concatenate([x.values] + [x.values[:, -1:]] * n, 1),
                np.concatenate([x.mask] + [x.mask[:, -1:]] * n, 1),
            ),
        )
        yield (
            'the steps stand before the data: that delays all outputs, and the last ones stay inside',
            lambda x, n: sl.Sequence(*(_extended(v[:, ::-1], n, 0)[:, ::-1] for v in (x.values, x.mask))),
        )
        yield 'nothing is appended, so the last outputs stay inside', lambda x, n: x
        yield 'one is not always enough: append {n}', lambda x, n: self.answer(x, 1)

    def picture(self, case: tuple, target: sl.Sequence, yours: Any, title: str):
        """The sequences, and their centred sums. Framed: valid in one of the two only."""
        yours = yours if isinstance(yours, sl.Sequence) else target[:, :0]
        rows = []
        for name, x, other in (('target', target, target), ('yours', yours, target)):
            values, mask = np.asarray(x.values)[0], np.asarray(x.mask)[0]
            wanted = np.resize(np.asarray(other.mask)[0], len(mask))
            rows.append(sequence_row(name, values, mask))
            sums = sequence_row('    centred sums', _sums(np.where(mask, values, 0)), mask)
            rows.append(sums._replace(marks=np.where(mask == wanted, sums.marks, 'first').tolist()))
        return plot_rows(
            rows, title, 'Item 0. Crossed cells are invalid. Orange: valid where it must not be, or the reverse.'
        )


def _words(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _delayed(name: str, offset: int, delay: int, mark: str) -> Row:
    return Row(name, [''] * offset + ['+1'] * delay, ['void'] * offset + [mark] * delay)


def _sequence(values: list, mask: list) -> sl.Sequence:
    return sl.Sequence(np.asarray(values, np.float32), np.asarray(mask, bool))


def _extended(array: np.ndarray, n: int, value: Any) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, n)), constant_values=value)


def _sums(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, [1, 1, 1])[1:-1] if len(values) else values


final_outputs = FinalOutputs()
delay_before = DelayBefore()
flush_with = FlushWith()
