from typing import Any

import jax
import numpy as np
from flax import nnx

from seqlayers.attention.cross_attention import DotProductAttention
from seqlayers.attention.streaming_attention import StreamingDotProductAttention
from seqlayers.combinators import chain
from seqlayers.combinators.repeat import Repeat
from seqlayers.combinators.serial import Serial
from seqlayers.context import Context, LayerError
from seqlayers.layer import SequenceLayer, walk
from seqlayers.layers import side_input
from seqlayers.layers.dense import Dense
from seqlayers.layers.embedding import Embedding
from seqlayers.layers.normalization import RMSNormalization
from seqlayers.models import parts
from seqlayers.sequence import Sequence

_SOME_SEQUENCE = Sequence(np.zeros((1, 0)), np.zeros((1, 0), bool))


def encoder_decoder(
    vocabulary: int,
    *,
    source_vocabulary: int | None = None,
    source_name: str = 'source',
    streaming: bool = False,
    look_ahead: int = 0,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    past: int = 128,
    ffn_width: int | None = None,
    dropout: float = 0.0,
) -> SequenceLayer:
    """A Transformer that writes one sequence while it looks at another: translation, speech to text, text to speech.

    encoder: source -> embedding or projection -> [self-attention, feed-forward] x num_layers -> norm
    decoder: ids -> embedding -> [self-attention, attention to the encoded source, feed-forward] x num_layers -> norm
    -> logits, by the table of the embedding

    Shapes: ids `(batch, time)` to logits `(batch, time, vocabulary)`. The source stands in `constants[source_name]`, a
    Sequence of vectors `(batch, source_time, features)`, or of ids if there is a `source_vocabulary`.

    | | block size | output ratio | latencies | receptive field, without the source |
    |---|---|---|---|---|
    | whole source | 1 | 1 | 0 | (-num_layers * past, 0) |
    | `streaming` | 1 | 1 | look_ahead | (-num_layers * past, 0) |

    A whole source is encoded once, in `get_initial_state`, by an encoder that looks at all of it. With `streaming`, it
    comes in time with the ids, a block a step: the encoder then sees `past` timesteps back, and the decoder `past` back
    and `look_ahead` ahead. For a text that is shorter than its source, put invalid timesteps or a blank symbol into it.

    Args:
      width, num_layers, num_heads, ffn_width: of encoder and decoder, as in `transformer`.
      past: horizon of the decoder's self-attention; when streaming, of the encoder and of the attention to it too.
      dropout: the rate, on what every residual adds.

    Raises:
      LayerError: `look_ahead` without `streaming`, or sizes that do not go together. When built: no source.

    Source: Vaswani et al., arXiv 1706.03762; with a look-ahead, Ma et al., "STACL" (wait-k), arXiv 1810.08398.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> declaration = sl.models.encoder_decoder(100, streaming=True, look_ahead=3)
    >>> declaration.output_latency
    3
    >>> speech = sl.Sequence.from_values(jnp.ones((1, 50, 80)))
    >>> whole = sl.models.encoder_decoder(100, width=16)
    >>> whole.build(sl.ChannelSpec((), jnp.int32), rngs=0, constants={'source': speech}).output_spec
    ChannelSpec((100,), float32)
    """
    if look_ahead and not streaming:
        raise LayerError(f'encoder_decoder: look_ahead={look_ahead} is for streaming=True; a whole source is all seen')
    units, encoded = parts.units_per_head(width, num_heads), f'{source_name}/encoded'
    if streaming:
        attention = StreamingDotProductAttention(encoded, num_heads, units, past, look_ahead, name='attention')
    else:
        attention = DotProductAttention(encoded, num_heads, units, name='attention')

    def block(*attentions: SequenceLayer) -> SequenceLayer:
        return Serial([*attentions, parts.gated_feed_forward(width, ffn_width, dropout)], name='block')

    seen = {'past': past, 'future': 0} if streaming else {'past': -1, 'future': -1}
    to_itself = block(parts.self_attention(width, num_heads, **seen, dropout=dropout))
    to_both = block(
        parts.self_attention(width, num_heads, past, dropout=dropout),
        parts.residual_attention(attention, width, dropout, name='source_attention'),
    )
    if look_ahead:  # only the first block waits for it, so blocks differ in their state
        blocks = Serial([to_both.replace(name=f'block_{i}') for i in range(num_layers)], name='blocks')
    else:
        blocks = Repeat(to_both, num_layers, name='blocks')
    start = Dense(width, name='input') if source_vocabulary is None else Embedding(width, source_vocabulary)
    encoder = Serial([start, Repeat(to_itself, num_layers, name='blocks'), RMSNormalization(name='norm')])
    return EncoderDecoder(encoder, parts.between_input_and_output(vocabulary, width, blocks), source_name)


class EncoderDecoder(SequenceLayer):
    """A decoder of the input, that reads in `constants` what an encoder makes of another sequence.

    Shapes: those of the decoder. The source stands in `constants[source_name]`; layers in the decoder find the encoded
    source in `constants['<source_name>/encoded']`.

    | block size | output ratio | latencies | receptive field |
    |---|---|---|---|
    | of the decoder | of the decoder | of the decoder | of the decoder; the source is no part of it |

    If the decoder reads it as it streams, by `StreamingDotProductAttention`, a step takes the timesteps of the source
    that belong to its block, and the encoder runs in steps. Otherwise the source is encoded once, in
    `get_initial_state`.

    Mask: that of the decoder. State: `(encoder, decoder)`; the encoder's is `()` if it does not stream. Emits: those of
    the decoder.

    Raises:
      LayerError: the source streams, and the encoder changes the rate, looks ahead, or cannot step by 1. When built:
        the source is missing, or no Sequence.

    >>> import jax.numpy as jnp, seqlayers as sl
    >>> read = sl.Residual([sl.DotProductAttention('text/encoded', num_heads=2, units_per_head=4), sl.DenseShaped([8])])
    >>> speaker = sl.models.EncoderDecoder(sl.Embedding(6, 30), sl.Serial([sl.LSTM(8), read]), source_name='text')
    >>> text = sl.Sequence.from_values(jnp.array([[3, 1, 4]]))
    >>> speaker.build(sl.ChannelSpec((5,)), rngs=0, constants={'text': text}).output_spec
    ChannelSpec((8,), float32)
    """

    encoder: SequenceLayer = nnx.data()
    decoder: SequenceLayer = nnx.data()
    source_name: str = 'source'

    def __post_init__(self):
        for field in ('encoder', 'decoder'):
            (layer,) = chain.as_layers(self, field, getattr(self, field))
            setattr(self, field, layer)
        encoder = self.encoder
        if self._streams and (encoder.output_ratio, encoder.block_size, encoder.output_latency) != (1, 1, 0):
            raise LayerError(
                f'EncoderDecoder: the decoder reads the source as it streams, so the encoder must keep the rate, step '
                f'by 1 and not look ahead; it has output ratio {encoder.output_ratio}, block size '
                f'{encoder.block_size} and output latency {encoder.output_latency}'
            )

    @property
    def _encoded_name(self) -> str:
        return f'{self.source_name}/encoded'

    @property
    def _streams(self) -> bool:
        constants = {self._encoded_name: _SOME_SEQUENCE}
        return any(self._encoded_name in layer.streamed_constants(constants) for _, layer in walk(self.decoder))

    @property
    def timing(self):
        return self.decoder.timing

    def streamed_constants(self, constants):
        return {self.source_name} if self._streams else set()

    def setup(self, input_spec, rngs, constants):
        source = self._source(constants)
        encoder = self.encoder.build(source.channel_spec, rngs=rngs, constants=constants.at('encoder'))
        self.encoder = encoder
        inside = constants.at('encoder')
        encoded = jax.eval_shape(lambda source: encoder.layer(source, training=False, constants=inside), source)
        inner = self._inner(constants, encoded).at('decoder')
        self.decoder = self.decoder.build(input_spec, rngs=rngs, constants=inner)
        self.output_spec = self.decoder.output_spec

    def _source(self, constants: Context) -> Sequence:
        source = side_input.read(constants, self.source_name, 'a Sequence (batch, time, ...)')
        if not isinstance(source, Sequence):
            raise LayerError(f'constants[{self.source_name!r}] must be a Sequence, got {type(source).__name__}')
        return source

    def _inner(self, constants: Context, encoded: Sequence) -> Context:
        inner = constants.at('')
        inner.entries = {**inner.entries, self._encoded_name: encoded}
        return inner

    def _encode(self, batch_size: int, training: bool, constants: Any) -> Context:
        source = side_input.for_batch(self.source_name, self._source(constants), batch_size)
        return self._inner(constants, self.encoder.layer(source, training=training, constants=constants))

    def get_initial_state(self, batch_size, *, training, constants=None, offset=0):
        kwargs, encoder = {'training': training, 'constants': constants}, ()
        if self._streams:
            encoder = self.encoder.get_initial_state(batch_size, **kwargs)
        else:
            kwargs['constants'] = self._encode(batch_size, training, constants)
        return encoder, self.decoder.get_initial_state(batch_size, offset=offset, **kwargs)

    def layer_with_emits(self, x, *, training, constants=None):
        inner = self._encode(x.shape[0], training, constants)
        return self.decoder.layer_with_emits(x, training=training, constants=inner)

    def step_with_emits(self, x, state, *, training, constants: Any = None):
        encoder, decoder = state
        if self._streams:
            source = side_input.for_batch(self.source_name, self._source(constants), x.shape[0])
            encoded, encoder = self.encoder.step(source, encoder, training=training, constants=constants)
            constants = self._inner(constants, encoded)
        y, decoder, emits = self.decoder.step_with_emits(x, decoder, training=training, constants=constants)
        return y, (encoder, decoder), emits
