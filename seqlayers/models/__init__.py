"""Complete architectures, each a function that returns a declaration. Read them, call them, change them."""

from seqlayers.models.conformer import conformer, conformer_block
from seqlayers.models.encoder_decoder import EncoderDecoder, encoder_decoder
from seqlayers.models.mamba import mamba, mamba_block
from seqlayers.models.transformer import transformer, transformer_block
from seqlayers.models.wavenet import wavenet, wavenet_block

__all__ = [
    'EncoderDecoder',
    'conformer',
    'conformer_block',
    'encoder_decoder',
    'mamba',
    'mamba_block',
    'transformer',
    'transformer_block',
    'wavenet',
    'wavenet_block',
]
