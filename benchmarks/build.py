"""How long it takes to build 8 Conformer-like blocks of width 144, in a fresh process: `python benchmarks/build.py`."""

import time

import jax
from flax import nnx

import seqlayers as sl

WIDTH = 144


def feed_forward() -> sl.SequenceLayer:
    return sl.Residual(
        [sl.RMSNormalization(), sl.Dense(4 * WIDTH, activation=jax.nn.swish), sl.Dense(WIDTH), sl.Scale(0.5)]
    )


def attention() -> sl.SequenceLayer:
    return sl.Residual(
        [
            sl.RMSNormalization(),
            sl.DotProductSelfAttention(
                num_heads=4, units_per_head=WIDTH // 4, max_past_horizon=32, max_future_horizon=2
            ),
            sl.DenseShaped([WIDTH]),
        ]
    )


def convolution() -> sl.SequenceLayer:
    return sl.Residual(
        [
            sl.RMSNormalization(),
            sl.Dense(2 * WIDTH),
            sl.GatedLinearUnit(),
            sl.DepthwiseConv1D(5, padding='causal'),
            sl.RMSNormalization(),
            sl.Swish(),
            sl.Dense(WIDTH),
        ]
    )


def conformer(blocks: int) -> sl.SequenceLayer:
    block = sl.Serial([feed_forward(), attention(), convolution(), feed_forward(), sl.RMSNormalization()])
    return sl.Serial([block] * blocks)


def main() -> None:
    declaration = conformer(8)
    wall, cpu = time.perf_counter(), time.process_time()
    model = declaration.build(sl.ChannelSpec((WIDTH,)), rngs=nnx.Rngs(0))
    jax.block_until_ready(jax.tree.leaves(model))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
    print(f'{parameters:,} parameters built in {wall:.2f} s ({cpu:.2f} s of CPU) on {jax.devices()[0].device_kind}')


if __name__ == '__main__':
    main()
