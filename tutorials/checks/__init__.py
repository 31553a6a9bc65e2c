"""What the lessons need besides `seqlayers` and `viz`: exercises that check themselves, and some pictures."""

from .arriving_weights import WeightsExplorer
from .attention_ring import RingExplorer, plot_ring
from .backlog import BacklogExplorer, plot_backlog, schedule
from .exercise import Exercise, Verdict, solution
from .explorers import MaskExplorer
from .influence import FieldExplorer, plot_influence
from .latency import LatencyExplorer, plot_letters
from .learning import PaddingExplorer, plot_kept
from .lesson01 import last_valid, masked_mean, real_length
from .lesson02 import needs_state, stream_conv
from .lesson03 import leaky_step, ring_write, state_bytes
from .lesson04 import delay_before, final_outputs, flush_with
from .lesson05 import dilations, field, measure
from .lesson06 import order, predict, residual_step
from .lesson07 import repair, safe_log, stride_mask
from .lesson08 import generate, ring_size, visible
from .lesson09 import combine, gate, is_associative
from .lesson10 import align_emits, condition_at, delay_condition
from .lesson11 import find_the_lie, meter, preemphasis
from .lesson12 import deadlines, rechunk, reset_slot
from .lesson13 import accumulate, masked_loss, resume_exactly
from .memory_explorer import MemoryExplorer
from .meters import plot_meters
from .neighbour import NeighbourExplorer, plot_leaks
from .ordering import OrderExplorer
from .pictures import lanes, plot_sequence
from .recurrence import DecayExplorer, plot_scan
from .refute import RefutationExplorer
from .training_run import TrainingRun

__all__ = [
    'BacklogExplorer',
    'DecayExplorer',
    'Exercise',
    'FieldExplorer',
    'LatencyExplorer',
    'MaskExplorer',
    'MemoryExplorer',
    'NeighbourExplorer',
    'OrderExplorer',
    'PaddingExplorer',
    'RefutationExplorer',
    'RingExplorer',
    'TrainingRun',
    'Verdict',
    'WeightsExplorer',
    'accumulate',
    'align_emits',
    'combine',
    'condition_at',
    'deadlines',
    'delay_before',
    'delay_condition',
    'dilations',
    'field',
    'final_outputs',
    'find_the_lie',
    'flush_with',
    'gate',
    'generate',
    'is_associative',
    'lanes',
    'last_valid',
    'leaky_step',
    'masked_loss',
    'masked_mean',
    'measure',
    'meter',
    'needs_state',
    'order',
    'plot_backlog',
    'plot_influence',
    'plot_kept',
    'plot_leaks',
    'plot_letters',
    'plot_meters',
    'plot_ring',
    'plot_scan',
    'plot_sequence',
    'predict',
    'preemphasis',
    'real_length',
    'rechunk',
    'repair',
    'reset_slot',
    'residual_step',
    'resume_exactly',
    'ring_size',
    'ring_write',
    'safe_log',
    'schedule',
    'solution',
    'state_bytes',
    'stream_conv',
    'stride_mask',
    'visible',
]  # fmt: skip
