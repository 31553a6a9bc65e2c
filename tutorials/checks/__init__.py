"""What the lessons need besides `seqlayers` and `viz`: exercises that check themselves, and some pictures."""

from .exercise import Exercise, Verdict, solution
from .explorers import MaskExplorer
from .lesson01 import last_valid, masked_mean, real_length
from .lesson02 import needs_state, stream_conv
from .pictures import lanes, plot_sequence

__all__ = [
    'Exercise', 'MaskExplorer', 'Verdict', 'lanes', 'last_valid', 'masked_mean', 'needs_state',
    'plot_sequence', 'real_length', 'solution', 'stream_conv',
]  # fmt: skip
