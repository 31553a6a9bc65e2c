from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.serial import Serial
from seqlayers.layer import SequenceLayer
from seqlayers.models import parts


def transformer(
    vocabulary: int | None = None,
    *,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    num_kv_heads: int | None = None,
    past: int = 128,
    ffn_width: int | None = None,
    dropout: float = 0.0,
) -> SequenceLayer:
    """A decoder-only Transformer: each timestep predicts from those before it, as language models do.

    ids -> embedding -> [block] x num_layers -> RMS norm -> logits, by the table of the embedding
    block: x + attention(norm x), then x + gated feed-forward(norm x)

    With a vocabulary it maps ids to logits, `(batch, time) -> (batch, time, vocabulary)`; without one vectors to
    vectors, `(batch, time, features) -> (batch, time, width)`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | 1 | 1 | 0 | (-num_layers * past, 0) |

    A step may take a whole prompt at once, and then single tokens. The state is a ring buffer of `past + 8` timesteps
    of keys and values for each layer, however long the stream. With `past=-1`, no limit, it is `max_length` timesteps,
    to be told to `get_initial_state`; tokens beyond that give NaN. Prompts of different lengths end together: put the
    invalid timesteps before them.

    Args:
      width: the channels between the blocks.
      num_heads: each of `width / num_heads` units. num_kv_heads: fewer heads of keys and values make a smaller cache.
      past: how many timesteps before it each timestep attends to; -1 is all.
      ffn_width: hidden units of the feed-forward networks, by default 4 * width.
      dropout: the rate, on what every residual adds.

    Raises:
      LayerError: the heads do not divide the width, or other sizes do not go together.

    Source: Vaswani et al., arXiv 1706.03762; norm first, RMS norm (arXiv 1910.07467), rotary positions (arXiv
    2104.09864) and gated units (arXiv 2002.05202) as in Touvron et al., "Llama", arXiv 2302.13971.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> declaration = sl.models.transformer(vocabulary=100, width=32, num_layers=3, past=16)
    >>> declaration.output_latency, declaration.receptive_field
    (0, (-48, 0))
    >>> declaration.build(sl.ChannelSpec((), jnp.int32), rngs=0).output_spec
    ChannelSpec((100,), float32)
    """
    block = transformer_block(
        width, num_heads=num_heads, num_kv_heads=num_kv_heads, past=past, ffn_width=ffn_width, dropout=dropout
    )
    return parts.between_input_and_output(vocabulary, width, Repeat(block, num_layers, name='blocks'))


def transformer_block(
    width: int,
    *,
    num_heads: int = 4,
    num_kv_heads: int | None = None,
    past: int = 128,
    future: int = 0,
    ffn_width: int | None = None,
    dropout: float = 0.0,
) -> SequenceLayer:
    """Attention, then a gated feed-forward network, each in a residual behind a norm.

    Shapes: `(batch, time, width)` unchanged. Latencies `future`, receptive field `(-past, future)`. Arguments as
    `transformer`; with `future` it looks ahead, and -1 is no limit (then it does not run in steps).

    >>> import seqlayers as sl
    >>> sl.models.transformer_block(32, past=16, future=2).receptive_field
    (-16, 2)
    """
    attention = parts.self_attention(width, num_heads, past, future, num_kv_heads, dropout)
    return Serial([attention, parts.gated_feed_forward(width, ffn_width, dropout)], name='block')
