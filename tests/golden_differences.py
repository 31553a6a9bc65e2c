"""Where the published library is wrong: the golden cases, the number of the quirk, and what is right."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Difference:
    """A known defect of the published library.

    Attributes:
      quirk: its number in the list of quirks.
      right: for each fact that differs, what is right, made from the case.
      no_reference: facts of which nothing is known, because the published ones follow from other outputs.
    """

    quirk: str
    right: Mapping[str, Callable[[Any], Any]]
    no_reference: tuple[str, ...] = ()


class TransposedSum:
    """The sum of overlapping pieces that a transposed convolution or an overlap-add makes of a golden case.

    Input i adds to the outputs i * stride + tap * dilation. T inputs make T * stride + overlap outputs, and
    the padding keeps a part of them.
    """

    def __init__(self, case: Any):
        config = {'dilation_rate': 1} | case.meta['config']
        size, stride, dilation = (
            int(np.ravel(config[key])[0])
            for key in (
                'kernel_size' if 'kernel_size' in config else 'frame_length',
                'strides' if 'strides' in config else 'frame_step',
                'dilation_rate',
            )
        )
        self.case, self.stride, self.span = case, stride, (size - 1) * dilation + 1
        self.overlap = max(0, self.span - stride)
        self.input_mask = case.arrays['x/mask']
        self.length = self.input_mask.shape[1] * stride
        self.taps = [tap * dilation for tap in range(size)]

    def inputs(self, output: int) -> list[int]:
        """The inputs that add to an output of the whole sum, those before the start and after the end too."""
        return [(output - tap) // self.stride for tap in self.taps if (output - tap) % self.stride == 0]

    def is_valid(self, item: int, time: int, before: bool) -> bool:
        """Whether an input is valid; after the end it is not, and `before` the start it is what is said."""
        mask = self.input_mask[item]
        return before if time < 0 else time < len(mask) and bool(mask[time])

    def mask(self, outputs: range, rule: Callable[[int, int], bool]) -> np.ndarray:
        return np.array([[rule(item, output) for output in outputs] for item in range(len(self.input_mask))])


def all_inputs_valid(case: Any) -> np.ndarray:
    """The mask for padding `valid`. The published one takes inputs after the end for valid."""
    pieces = TransposedSum(case)

    def rule(item: int, output: int) -> bool:
        times = [output // pieces.stride, *pieces.inputs(output)]
        return all(pieces.is_valid(item, time, before=True) for time in times)

    return pieces.mask(range(pieces.length + pieces.overlap), rule)


def any_input_valid(case: Any) -> np.ndarray:
    """The mask for padding `semicausal_full`: T * stride outputs, without the overlap at the start."""
    pieces = TransposedSum(case)

    def rule(item: int, output: int) -> bool:
        return any(pieces.is_valid(item, time, before=False) for time in pieces.inputs(output))

    return pieces.mask(range(pieces.overlap, pieces.overlap + pieces.length), rule)


def where(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(mask.reshape(mask.shape + (1,) * (values.ndim - 2)), values, 0)


def semicausal_full_values(case: Any) -> np.ndarray:
    """The published transposed convolution drops stride - 1 outputs at the start, not the overlap."""
    pieces = TransposedSum(case)
    return case.arrays['y/values'][:, pieces.overlap - (pieces.stride - 1) :]


def overlap_add_values(case: Any) -> np.ma.MaskedArray:
    """The published overlap-add ends early, and takes an output that is valid for an invalid one."""
    values, known = case.arrays['y/values'], case.arrays['y/mask']
    missing = TransposedSum(case).length - values.shape[1]
    values = np.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
    known = np.pad(known, [(0, 0), (0, missing)])
    return np.ma.masked_array(values, ~np.broadcast_to(where(known, np.ones_like(values)) > 0, values.shape))


def semicausal_full_fields(case: Any) -> list[tuple[int, int]]:
    pieces = TransposedSum(case)
    inputs = [pieces.inputs(pieces.overlap + phase) for phase in range(pieces.stride)]
    return [(min(times), max(times)) for times in inputs]


def semicausal_full_field(case: Any) -> tuple[int, int]:
    fields = semicausal_full_fields(case)
    return min(first for first, _ in fields), max(last for _, last in fields)


def timing_signal_added(case: Any) -> np.ndarray:
    """The input and sines and cosines of all timesteps, at timescales from the least to the greatest."""
    config, x = case.meta['config'], case.arrays['x/values']
    half, least, greatest = x.shape[-1] // 2, config['min_timescale'], config['max_timescale']
    timescales = [least * (greatest / least) ** (i / (half - 1)) for i in range(half)]
    angles = np.arange(x.shape[1])[:, None] / np.array(timescales)
    signal = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    return where(case.arrays['x/mask'], x + signal)


def mixture_of_gaussians(case: Any, x: np.ndarray) -> np.ndarray:
    """What attention by a mixture of Gaussians makes of `x`, whose numbers may be complex: it is analytic."""
    hidden = np.einsum('btc,cnh->btnh', x, case.arrays['params/params/hidden/kernel'].astype(np.float64))
    hidden = hidden * (hidden.real > 0)
    logits = np.einsum('btnh,nhmk->kbtnm', hidden, case.arrays['params/params/output/kernel'].astype(np.float64))
    prior, offset, scale = logits + case.arrays['params/params/output/bias'].transpose(2, 0, 1)[:, None, None]
    prior = np.exp(prior) / np.exp(prior).sum(-1, keepdims=True)
    mean, deviation = np.log1p(np.exp(offset)), np.log1p(np.exp(scale))
    source, mask = case.arrays['constants/source/values'], case.arrays['constants/source/mask']
    outputs = 0
    for j in range(source.shape[1]):
        density = np.exp(-(((j - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
        weight = (prior * density).sum(-1) * mask[:, j, None, None]
        outputs = outputs + weight[..., None] * np.where(mask[:, j, None], source[:, j], 0)[:, None, None]
    return np.where(case.arrays['y/mask'][:, :, None, None], outputs, 0)


def mixture_values(case: Any) -> np.ndarray:
    return mixture_of_gaussians(case, x=np.where(case.arrays['x/mask'][..., None], case.arrays['x/values'], 0)).real


def mixture_gradient(case: Any) -> np.ndarray:
    """By complex steps, exact to rounding: each output reads only the input of its own timestep."""
    x, step = np.where(case.arrays['x/mask'][..., None], case.arrays['x/values'], 0), 1e-20
    directions = 1j * step * np.eye(x.shape[-1])
    slopes = [mixture_of_gaussians(case, x + direction).imag / step for direction in directions]
    return np.stack([(slope * case.arrays['ct']).sum((2, 3)) for slope in slopes], axis=-1)


# An item that fills the array has a valid tail, and no longer when it is padded.
FULL_ITEMS = Difference(
    'Q-3',
    {
        'mask': all_inputs_valid,
        'values': lambda case: where(all_inputs_valid(case), case.arrays['y/values']),
    },
    no_reference=('gradient',),
)
TRANSPOSED_SEMICAUSAL_FULL = Difference(
    'Q-9',
    {
        'mask': any_input_valid,
        'values': semicausal_full_values,
        'receptive field': semicausal_full_field,
        'receptive fields': semicausal_full_fields,
    },
    no_reference=('gradient',),
)
OVERLAP_ADD_SEMICAUSAL_FULL = Difference(
    'Q-9',
    {'mask': any_input_valid, 'values': overlap_add_values},
    no_reference=('gradient', 'receptive fields'),
)
# Each repetition looks one timestep ahead by Lookahead and one by its attention.
LOOKAHEAD_BEHIND_LATENCY = Difference('Q-11', {'input latency': lambda case: 6, 'output latency': lambda case: 6})
# The published signal takes 1 / min_timescale for the least timescale.
TIMESCALES = Difference('Quirk 11', {'values': timing_signal_added})
# Each Gaussian is multiplied by what it should be divided by.
NORMALIZED_GAUSSIANS = Difference('Quirk 26', {'values': mixture_values, 'gradient': mixture_gradient})


def endless_past(future: int) -> Difference:
    """Positions that count valid timesteps depend on all of the past; published attention leaves that out."""
    field = (-math.inf, future)
    return Difference('Quirk 20', {'receptive field': lambda case: field, 'receptive fields': lambda case: [field]})


def zero_where_nothing_is_seen(case: Any) -> np.ndarray:
    """The published values, but 0 for queries with no valid timestep of the source within their horizons."""
    source, config = case.arrays['constants/source/mask'], case.meta['config']
    past, future = config['max_past_horizon'], config['max_future_horizon']
    times = range(case.arrays['x/mask'].shape[1])
    seen = [[bool(row[max(0, t - past) : t + future + 1].any()) for t in times] for row in source]
    return where(np.array(seen), case.arrays['y/values'])


# Published: the mean of all values, seen or not.
NOTHING_SEEN = Difference('Quirk 15', {'values': zero_where_nothing_is_seen})

DIFFERENCES = {
    **{f'conv1d_transpose/{number}': FULL_ITEMS for number in ('001', '002', '004', '006')},
    **{f'conv1d_transpose/{number}': TRANSPOSED_SEMICAUSAL_FULL for number in ('022', '023', '026', '027')},
    **{f'conv2d_transpose/{number}': FULL_ITEMS for number in ('012', '016', '017')},
    **{f'overlap_add/{number}': FULL_ITEMS for number in ('000', '005')},
    **{f'overlap_add/{number}': OVERLAP_ADD_SEMICAUSAL_FULL for number in ('012', '017')},
    'stft/018': FULL_ITEMS,
    'random_architectures/124': LOOKAHEAD_BEHIND_LATENCY,
    'streaming_attention/000': NOTHING_SEEN,
    'position/006': TIMESCALES,
    'gmm_attention/000': NORMALIZED_GAUSSIANS,
    'models/002': endless_past(future=0),
    'self_attention/026': endless_past(future=0),
    'self_attention/037': endless_past(future=2),
}

# What the published library takes and does not compute: the quirk, and what our error says.
REFUSED = {
    # It drops the relative positions of Transformer-XL without a word.
    'relative_position/005': ('Quirk 19', 'knows distances from 4 back to 0 ahead, but the horizons are -1 and 0'),
}
