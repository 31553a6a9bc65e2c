"""A tiny simulator of layers on streams, in NumPy and apart from the layers: judge of the algebra of time.

A sequence is a pair (values int64 [t], mask bool [t]) of one item. Values are integers that wrap, so that
equality is exact and garbage in void or invalid timesteps shows. A node knows its `timing`, its `layer`, and
how to `start` a stream at an offset; what that returns maps one block after another.
"""

import math
from fractions import Fraction

import numpy as np

from seqlayers.intervals import IntervalSet
from seqlayers.padding import TransposedWindow, Window
from seqlayers.timing import Timing, bidirectional, blockwise, parallel, repeat, serial

GARBAGE = np.random.default_rng(7)


def garbage(n):
    return GARBAGE.integers(-(2**40), 2**40, n)


def invalid(n):
    return garbage(n), np.zeros(n, bool)


def concat(*sequences):
    return tuple(np.concatenate(part) for part in zip(*sequences, strict=True))


def cut(sequence, start, stop=None):
    return tuple(part[start:stop] for part in sequence)


def mask_invalid(sequence, neutral=0):
    values, mask = sequence
    return np.where(mask, values, neutral), mask


def weights(n):
    """Taps of a kernel: fixed, odd and large, so that no two sums of them are alike by chance."""
    return np.random.default_rng(n).integers(1, 2**30, n) * 2 + 1


def fifo(length):
    """Steps of a delay."""
    buffer = invalid(length)

    def step(x):
        nonlocal buffer
        y = concat(buffer, x)
        buffer = cut(y, len(x[0]))
        return cut(y, 0, len(x[0]))

    return step


def clocked(offset, function):
    """Steps of a layer that knows the time of every step: function(x, times) -> y."""
    now = -offset

    def step(x):
        nonlocal now
        times = now + np.arange(len(x[0]))
        now += len(x[0])
        return function(x, times)

    return step


class Pointwise:
    """A layer of `function(x, times)`, told the time."""

    def __init__(self, function, timing=None):
        self.function, self.timing = function, timing or Timing()

    def layer(self, x):
        return self.function(x, np.arange(len(x[0])))

    def start(self, offset):
        return clocked(offset, self.function)


def position():
    return Pointwise(lambda x, t: (x[0] * (2 * t + 3), x[1]))


def upsample(rate):
    timing = Timing(output_ratio=rate, receptive_field=dict.fromkeys(range(rate), (0, 0)))
    return Pointwise(lambda x, t: (np.repeat(x[0], rate), np.repeat(x[1], rate)), timing)


def downsample(rate):
    timing = Timing(output_ratio=Fraction(1, rate), input_latency=rate - 1)
    return Pointwise(lambda x, t: (x[0][::rate], x[1][::rate]), timing)


class Recurrent:
    """h <- 3 h + x, frozen on invalid steps; emits also the count of valid steps."""

    timing = Timing(receptive_field=(-math.inf, 0))

    def layer(self, x):
        return self.start(0)(x)

    def start(self, offset):
        h = np.int64(0)
        count = 0

        def step(x):
            nonlocal h, count
            y = []
            for value, valid in zip(*x, strict=True):
                if valid:
                    h, count = np.int64((int(h) * 3 + int(value)) % 2**40), count + 1
                y.append(h + count)
            return np.array(y, np.int64), x[1]

        return step


class Delay:
    def __init__(self, length, in_layer):
        self.length, self.in_layer = length, in_layer
        self.timing = Timing(
            input_latency=length,
            output_latency=0 if in_layer else length,
            receptive_field=(-length, -length) if in_layer else (0, 0),
        )

    def layer(self, x):
        return concat(invalid(self.length), x) if self.in_layer else x

    def start(self, offset):
        return fifo(self.length)


class Lookahead:
    def __init__(self, length):
        self.length = length
        self.timing = Timing(output_latency=length, receptive_field=(length, length))

    def layer(self, x):
        return cut(x, self.length)

    def start(self, offset):
        return clocked(offset, lambda x, t: (x[0], x[1] & (t >= self.length)))


class Chunks:
    """Every step sums the valid values of its chunk, of the chunk before, and of `future` chunks ahead."""

    def __init__(self, size, future):
        self.size, self.future = size, future

        def reads(output):
            chunk = output // size
            return IntervalSet([((chunk - 1) * size, (chunk + future + 1) * size - 1)])

        latency = size * future
        self.timing = Timing(
            input_latency=latency,
            output_latency=latency,
            align=size,
            block_size=size,
            receptive_field=reads,
            period=size,
        )

    def layer(self, x):
        length = len(x[0])
        whole = concat(mask_invalid(x), (np.zeros(-length % self.size, int),) * 2)[0]
        sums = whole.reshape(-1, self.size).sum(1)
        sums = np.concatenate([np.zeros(1, int), sums, np.zeros(self.future, int)])
        total = sum(sums[i : len(sums) - self.future - 1 + i] for i in range(self.future + 2))
        return np.repeat(total, self.size)[:length] + x[0], x[1]

    def start(self, offset):
        kept = invalid((1 + self.future) * self.size)  # the chunk before and those that wait for their future

        def step(x):
            nonlocal kept
            seen = concat(kept, x)
            kept = cut(seen, len(x[0]))
            y = self.layer(seen)
            return cut(y, self.size, self.size + len(x[0]))

        return step


class Convolution:
    """A window, exactly as `Window` tells: buffer, masks, latency."""

    def __init__(self, kernel_size, stride, dilation, padding):
        self.window = Window(kernel_size, stride, dilation, padding)
        self.timing = self.window.timing
        self.kernel = weights(kernel_size)

    def slide(self, x, count):
        """`count` windows over x, from its start, one every stride."""
        w = self.window
        taps = w.stride * np.arange(count)[:, None] + w.dilation * np.arange(w.kernel_size)
        values = (mask_invalid(x)[0][taps] * self.kernel).sum(1)
        rules = {
            'tap': lambda: x[1][w.stride * np.arange(count) + w.left],
            'all': lambda: x[1][taps].all(1),
            'any': lambda: x[1][taps].any(1),
        }
        return values, rules[w.mask_rule]()

    def layer(self, x):
        w = self.window
        left, right = (np.full(n, w.padding == 'causal_valid') for n in (w.left, w.right))
        padded = concat((0 * left, left), x, (0 * right, right))
        return self.slide(padded, w.output_length(len(x[0])))

    def start(self, offset):
        w = self.window
        buffer = np.zeros(w.buffer, int), np.full(w.buffer, w.buffer_mask)

        def step(x, times):
            nonlocal buffer
            void = times < 0
            values, mask = mask_invalid(x)
            if w.told_offset:
                mask = mask | void
            seen = concat(buffer, (values, mask))
            buffer = cut(seen, len(seen[0]) - w.buffer)
            y, mask = self.slide(seen, len(x[0]) // w.stride)
            return y, mask & ~(w.told_offset & void[:: w.stride])

        return clocked(offset, step)


class Transposed:
    def __init__(self, kernel_size, stride, dilation, padding):
        self.window = TransposedWindow(kernel_size, stride, dilation, padding)
        self.timing = self.window.timing
        self.kernel = weights(kernel_size)
        self.reach = -(-self.window.effective // stride) - 1  # earlier inputs that add to an output

    def spread(self, x):
        """The full sum of all inputs."""
        w = self.window
        y = np.zeros(len(x[0]) * w.stride + w.overlap, int)
        for i, value in enumerate(mask_invalid(x)[0]):
            first = i * w.stride
            y[first : first + w.effective : w.dilation] += value * self.kernel
        return y

    def sources(self, output):
        """The inputs that add to an output of the full sum (before any is dropped)."""
        w = self.window
        taps = range(0, w.effective, w.dilation)
        return [(output - tap) // w.stride for tap in taps if (output - tap) % w.stride == 0]

    def masks(self, mask, first, count):
        """The masks of outputs first, first + 1, ... of the full sum; mask(i) is that of input i."""
        w = self.window
        rule = {
            'repeat': lambda o: mask(o // w.stride),
            'all': lambda o: mask(o // w.stride) and all(mask(i) for i in self.sources(o) if i >= 0),
            'any': lambda o: any(mask(i) for i in self.sources(o) if i >= 0),
        }[w.mask_rule]
        return np.array([rule(o) for o in range(first, first + count)], bool)

    def layer(self, x):
        w = self.window
        length = w.output_length(len(x[0]))

        def mask(i):
            return i < len(x[0]) and x[1][i]

        drop = w.latency
        y = np.concatenate([self.spread(x), np.zeros(drop, int)])[drop : drop + length]
        return y, self.masks(mask, drop if w.mask_rule == 'any' else 0, length)

    def start(self, offset):
        w = self.window
        sums = np.zeros(w.overlap, int)
        history = []  # (time, mask) of all inputs; the layer keeps the last `reach` of them
        late = fifo(w.latency)

        def step(x, times):
            nonlocal sums, history
            y = self.spread(x)
            y[: w.overlap] += sums
            length = len(x[0]) * w.stride
            y, sums = y[:length], y[length : length + w.overlap]
            known = history + list(zip(times, x[1], strict=True))
            valid = {int(t): bool(m and t >= 0) for t, m in known}
            mask = self.masks(valid.__getitem__, int(times[0]) * w.stride, length)
            history = known[max(0, len(known) - self.reach) :]
            return y, late((y, mask))[1]

        return clocked(offset, step)


class Serial:
    def __init__(self, *children):
        self.children = children
        self.timing = serial([c.timing for c in children])

    def layer(self, x):
        for child in self.children:
            x = child.layer(x)
        return x

    def start(self, offset):
        steps = []
        for child, (delay, start) in zip(self.children, self.timing.plan(offset)[0], strict=True):
            steps += [fifo(delay), child.start(start)]

        def step(x):
            for s in steps:
                x = s(x)
            return x

        return step


def join(outputs):
    """The weighted sum of sequences, cropped to the shortest."""
    length = min(len(values) for values, _ in outputs)
    values = sum((2 * i + 1) * v[:length] for i, (v, _) in enumerate(outputs))
    return values, np.all([m[:length] for _, m in outputs], axis=0)


class Parallel:
    """Branches side by side, each a Serial."""

    def __init__(self, *branches):
        self.branches = branches
        self.timing = parallel([b.timing for b in branches])

    def layer(self, x):
        return join([b.layer(x) for b in self.branches])

    def start(self, offset):
        steps = [b.start(offset) for b in self.branches]
        late = [fifo(delay) for delay in self.timing.delays(offset)]
        return lambda x: join([delay(step(x)) for step, delay in zip(steps, late, strict=True)])


class Repeat:
    def __init__(self, child, num_repeats):
        self.child, self.num_repeats = child, num_repeats
        self.timing = repeat(child.timing, num_repeats)

    def layer(self, x):
        x = concat(x, invalid(-len(x[0]) % self.timing.block_size))
        for _ in range(self.num_repeats):
            y = self.child.layer(x)
            assert len(y[0]) <= len(x[0]), 'this child does not belong in a Repeat'
            x = concat(y, invalid(len(x[0]) - len(y[0])))
        return x

    def start(self, offset):
        offsets = self.timing.offsets(offset)
        plans = {tuple(delay for delay, _ in self.child.timing.plan(start)[0]) for start in offsets}
        assert len(plans) == 1, f'repetitions differ in their delays, so in the shape of their state: {plans}'
        steps = []
        for start in offsets:
            steps += [self.child.start(start), fifo(self.timing.delay(offset))]

        def step(x):
            for s in steps:
                x = s(x)
            return x

        return step


class Bidirectional:
    """The sum of a layer and of one that reads each item from its end; no steps."""

    def __init__(self, forward, backward):
        self.forward, self.backward = forward, backward
        self.timing = bidirectional(forward.timing, backward.timing)

    def layer(self, x):
        valid = np.flatnonzero(x[1])
        end = valid[-1] + 1 if len(valid) else 0
        end += -end % self.backward.timing.phase
        item = cut(concat(x, invalid(max(0, end - len(x[0])))), 0, end)
        mirrored = self.backward.layer(tuple(part[::-1] for part in item))
        out = int(end * self.timing.output_ratio)
        mirrored = cut(concat(mirrored, invalid(max(0, out - len(mirrored[0])))), 0, out)
        y = self.forward.layer(x)
        back = concat(tuple(part[::-1] for part in mirrored), invalid(len(y[0])))
        return join([y, back])


class Blockwise:
    def __init__(self, child, block_size):
        self.child = child
        self.timing = blockwise(child.timing, block_size)

    def layer(self, x):
        return self.child.layer(x)

    def start(self, offset):
        step, small = self.child.start(offset), self.child.timing.block_size
        return lambda x: concat(*(step(cut(x, i, i + small)) for i in range(0, len(x[0]), small)))
