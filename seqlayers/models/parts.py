"""What several of the models are made of: what stands around their blocks, and the parts of a Transformer block."""

import jax

from seqlayers.attention.projections import QueryAndKeyValueProjection
from seqlayers.attention.self_attention import DotProductSelfAttention
from seqlayers.combinators.residual import Residual
from seqlayers.combinators.serial import Serial
from seqlayers.combinators.shared import EmbeddingTranspose, Ref, Shared
from seqlayers.context import LayerError
from seqlayers.layer import SequenceLayer
from seqlayers.layers.activation import GatedUnit
from seqlayers.layers.dense import Dense, DenseShaped
from seqlayers.layers.dropout import Dropout
from seqlayers.layers.embedding import Embedding
from seqlayers.layers.normalization import RMSNormalization
from seqlayers.layers.rotary import ApplyRotaryPositionalEncoding


def between_input_and_output(vocabulary: int | None, width: int, body: SequenceLayer) -> SequenceLayer:
    """A body that keeps `width` channels, as a model of tokens or of vectors.

    With a vocabulary, of ids, `(batch, time) -> (batch, time, vocabulary)`: embedding, body, norm, and logits by the
    same table. Without one, of vectors, `(batch, time, features) -> (batch, time, width)`: projection, body, norm.
    """
    if vocabulary is None:
        return Serial([Dense(width, name='input'), body, RMSNormalization(name='norm')])
    logits = EmbeddingTranspose('embedding', use_bias=False, name='logits')
    inside = Serial([Ref('embedding'), body, RMSNormalization(name='norm'), logits])
    return Shared({'embedding': Embedding(width, vocabulary)}, inside)


def self_attention(
    width: int, num_heads: int, past: int, future: int = 0, num_kv_heads: int | None = None, dropout: float = 0.0
) -> SequenceLayer:
    """A residual around norm, attention with rotated queries and keys (RoPE), and projection to `width`."""
    # Rotations matter by their differences, so counting all timesteps is as good as counting valid ones, and the
    # receptive field stays that of the window.
    rotate = ApplyRotaryPositionalEncoding(1e4, only_advance_position_for_valid_timesteps=False)
    attention = DotProductSelfAttention(
        num_heads,
        units_per_head(width, num_heads),
        past,
        future,
        num_kv_heads=num_kv_heads,
        input_projection=QueryAndKeyValueProjection(),
        query_network=rotate,
        key_network=rotate,
        name='attention',
    )
    return residual_attention(attention, width, dropout, name='self_attention')


def residual_attention(attention: SequenceLayer, width: int, dropout: float, name: str) -> SequenceLayer:
    """A residual around norm, an attention, and the projection of its heads to `width`."""
    output = DenseShaped([width], use_bias=False, name='output')
    return Residual([RMSNormalization(name='norm'), attention, output, Dropout(dropout)], name=name)


def gated_feed_forward(width: int, hidden: int | None = None, dropout: float = 0.0) -> SequenceLayer:
    """A residual around norm and a feed-forward network with gated hidden units (SwiGLU), by default 4 * width."""
    layers = [
        RMSNormalization(name='norm'),
        Dense(2 * (hidden or 4 * width), use_bias=False, name='hidden'),
        GatedUnit(None, jax.nn.silu),
        Dense(width, use_bias=False, name='output'),
        Dropout(dropout),
    ]
    return Residual(layers, name='feed_forward')


def units_per_head(width: int, num_heads: int) -> int:
    """How many units each head gets.

    Raises:
      LayerError: the heads do not divide the width.
    """
    if num_heads < 1 or width % num_heads:
        raise LayerError(f'the number of heads must divide the width {width}, got num_heads={num_heads}')
    return width // num_heads
