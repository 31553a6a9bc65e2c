"""Draws the pictures of the README: `make figures`."""

from pathlib import Path

import jax

import seqlayers as sl
import viz

IMAGES = Path(__file__).parent / 'images'


def encoder() -> sl.SequenceLayer:
    """The model of the README, narrower."""
    return sl.Serial(
        [
            sl.Conv1D(8, kernel_size=5, strides=2, padding='causal', activation=jax.nn.gelu),
            sl.Residual([sl.RMSNormalization(), sl.Conv1D(8, kernel_size=3, padding='same')]),
            sl.Conv1D(8, kernel_size=3, dilation_rate=2, padding='causal'),
        ]
    ).build(sl.ChannelSpec((4,)), rngs=0)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    viz.plot_receptive_field(viz.trace_receptive_field(encoder())).savefig(IMAGES / 'receptive_field.png')


if __name__ == '__main__':
    main()
