"""Models to start from, small enough to be built and run at every change."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import seqlayers as sl

Start = tuple[sl.SequenceLayer, sl.ChannelSpec]  # a declaration and its input

VECTORS = sl.ChannelSpec((8,))
IDS = sl.ChannelSpec((), jnp.int32)
SMALL: dict[str, Any] = {'width': 8, 'num_heads': 2, 'num_layers': 2, 'ffn_width': 16}


def keyword_spotter(num_keywords: int = 4) -> sl.SequenceLayer:
    """Spectral frames -> strided convolutions -> GRU -> logits."""
    return sl.Serial([
        sl.Conv1D(8, kernel_size=3, strides=2, padding='causal', activation=jax.nn.relu),
        sl.Conv1D(8, kernel_size=3, strides=2, padding='causal', activation=jax.nn.relu),
        sl.GRU(8),
        sl.Dense(num_keywords),
    ])  # fmt: skip


def looks_ahead() -> sl.SequenceLayer:
    """A residual around a convolution that looks one step ahead: its shortcut waits."""
    return sl.Serial([
        sl.Conv1D(8, kernel_size=5, strides=2, padding='causal', activation=jax.nn.gelu),
        sl.Residual([sl.RMSNormalization(), sl.Conv1D(8, kernel_size=3, padding='same')]),
        sl.Conv1D(8, kernel_size=3, dilation_rate=2, padding='causal'),
    ])  # fmt: skip


GALLERY: dict[str, Callable[[], Start]] = {
    'convolutions that look ahead': lambda: (looks_ahead(), VECTORS),
    'keyword spotter': lambda: (keyword_spotter(), VECTORS),
    'causal WaveNet block': lambda: (sl.models.wavenet_block(4, 4, dilation=2), VECTORS),
    'WaveNet': lambda: (
        sl.models.wavenet(16, width=4, skip_width=4, dilations=[1, 2, 4], num_stacks=2),
        sl.ChannelSpec((1,)),
    ),
    'Transformer': lambda: (sl.models.transformer(16, past=8, **SMALL), IDS),
    'streaming Conformer': lambda: (sl.models.conformer(past=8, look_ahead=2, kernel_size=5, **SMALL), VECTORS),
    'Mamba': lambda: (sl.models.mamba(16, width=8, num_layers=2, num_heads=2, state_size=4), IDS),
    'encoder and decoder': lambda: (
        sl.models.encoder_decoder(16, past=8, streaming=True, look_ahead=1, **SMALL),
        IDS,
    ),
}
