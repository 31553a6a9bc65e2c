"""The contract of streams (start, end, numbers) for nodes of the simulator, and random models to try."""

import math

import numpy as np

from tests.streams import (
    Blockwise,
    Chunks,
    Convolution,
    Delay,
    Lookahead,
    Parallel,
    Recurrent,
    Repeat,
    Serial,
    Transposed,
    concat,
    cut,
    downsample,
    garbage,
    invalid,
    position,
    upsample,
)


def same(y, reference, what):
    assert np.array_equal(y[1], reference[1]), f'{what}: masks {y[1] * 1} for {reference[1] * 1}'
    assert np.array_equal(*(np.where(s[1], s[0], 0) for s in (y, reference))), f'{what}: values'


def check_end(node, x):
    """Invalid steps after x change nothing but the length."""
    reference = node.layer(x)
    for extra in (1, node.timing.block_size):
        y = node.layer(concat(x, invalid(extra)))
        same(cut(y, 0, len(reference[0])), reference, 'end')
        assert not y[1][len(reference[0]) :].any(), 'end: valid outputs after the end'


def run(step, x, block, rng):
    """Feeds x, in random multiples of `block`; its length is one."""
    outputs, at = [], 0
    while at < len(x[0]):
        size = block * int(rng.integers(1, 4))
        outputs.append(step(cut(x, at, at + size)))
        at += size
    return concat(*outputs) if outputs else invalid(0)


def check_contract(node, x, offset, rng):
    """Raises AssertionError if steps from `offset` (a multiple of align) do not give what the layer gives."""
    timing = node.timing
    reference = node.layer(x)
    void = timing.output_offset(offset)
    last = int(np.flatnonzero(reference[1])[-1]) + 1 if reference[1].any() else 0
    for steps in (0, 3):
        flush = timing.flush(steps, offset)
        length = offset + len(x[0]) + flush
        padding = invalid(flush + -length % timing.block_size)
        y = run(node.start(offset), concat(invalid(offset), x, padding), timing.block_size, rng)
        assert not y[1][:void].any(), f'start: {void} void outputs, masks {y[1] * 1}'
        enough = void + last + steps if last else 0
        assert len(y[0]) >= enough, f'numbers: {len(y[0])} outputs, not {enough}'
        y = cut(y, void)
        shorter = min(len(y[0]), len(reference[0]))
        same(cut(y, 0, shorter), cut(reference, 0, shorter), 'steps')
        assert not y[1][shorter:].any(), 'steps: valid outputs after the end'
    check_end(node, x)


def check(node, rng, lengths=(0, 1, 5, 11)):
    """The contract on several lengths, kinds of masks and offsets."""
    for length in lengths:
        for mask in masks(length, rng):
            a = node.timing.align * int(rng.integers(0, 4))
            check_contract(node, (garbage(length), mask), a, rng)


def masks(length, rng):
    """A full item, and one with gaps or an early end."""
    yield np.ones(length, bool)
    yield (rng.random(length) < 0.7) & (np.arange(length) < rng.integers(0, length + 1))


# Random models.

PADDINGS = ('valid', 'same', 'causal_valid', 'reverse_causal_valid', 'causal', 'reverse_causal', 'semicausal')


def random_leaf(rng, may_lengthen):
    def pick(*options):
        return options[int(rng.integers(len(options)))]

    kinds = 'conv conv conv conv transposed down up delay ahead position rnn chunks'
    kind = pick(*kinds.split())
    k, s, d = pick(1, 2, 3, 4), pick(1, 1, 2, 3), pick(1, 1, 2)
    if kind == 'conv':
        span = (k - 1) * d
        left = int(rng.integers(0, span + 1))
        longer = ('semicausal_full',) if may_lengthen else ()
        return Convolution(k, s, d, pick(*PADDINGS, (left, span - left), *longer))
    if kind == 'transposed':
        return Transposed(k, s, d, pick('causal', 'same', *(('valid',) if may_lengthen else ())))
    if kind == 'delay':
        return Delay(pick(1, 2, 3), in_layer=may_lengthen and pick(True, False))
    return {
        'down': lambda: downsample(s),
        'up': lambda: upsample(s),
        'ahead': lambda: Lookahead(pick(1, 2, 3)),
        'position': position,
        'rnn': Recurrent,
        'chunks': lambda: Chunks(pick(2, 3), pick(0, 0, 1)),
    }[kind]()


def random_chain(rng, depth, may_lengthen):
    size = int(rng.integers(1, 4))
    return [random_node(rng, depth, may_lengthen) for _ in range(size)]


def resampled(ratio):
    """Layers that change the rate by `ratio`."""
    ups = [upsample(ratio.numerator)] if ratio.numerator > 1 else []
    return ups + ([downsample(ratio.denominator)] if ratio.denominator > 1 else [])


def random_node(rng, depth, may_lengthen=True):
    if not depth or rng.random() < 0.5:
        return random_leaf(rng, may_lengthen)
    kind = rng.integers(5)
    chain = random_chain(rng, depth - 1, may_lengthen and kind != 3)
    body = Serial(*chain)
    ratio = body.timing.output_ratio
    if kind <= 1:
        return body
    if kind == 2:
        other = random_chain(rng, depth - 1, may_lengthen) if rng.random() < 0.5 else []
        missing = ratio / math.prod(c.timing.output_ratio for c in other)
        return Parallel(body, Serial(*other, *resampled(missing)))
    if kind == 3:
        return Repeat(Serial(*chain, *resampled(1 / ratio)), int(rng.integers(2, 4)))
    return Blockwise(body, body.timing.block_size * 2)


def random_model(seed):
    """A model of depth 2 at most with a block of at most 24 steps, and the generator that made it."""
    rng = np.random.default_rng(seed)
    while True:
        model = Serial(*random_chain(rng, 2, True))
        if model.timing.block_size <= 24 and model.timing.output_latency <= 80:
            return model, rng
