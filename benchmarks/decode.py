"""Decoding on an accelerator: milliseconds a token, for windows and batches, beside the limit of the memory.

`python benchmarks/decode.py [--layers 12] [--tokens 64]`. A decoder-only Transformer in bfloat16: width 1024, 16 heads,
gated feed-forward of 4096, rotary positions. The limit is the time to read the weights and the caches once.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp

import seqlayers as sl
from seqlayers.combinators.unstack import unstack

WIDTH, HEADS, HIDDEN = 1024, 16, 4096
BANDWIDTH = 3.0e12  # bytes a second, H100


def decoder(window: int, layers: int) -> sl.SequenceLayer:
    half = {'param_dtype': 'bfloat16', 'compute_dtype': 'bfloat16'}
    rotate = sl.ApplyRotaryPositionalEncoding(1e4, only_advance_position_for_valid_timesteps=False)
    attention = sl.Residual(
        [
            sl.RMSNormalization(param_dtype='bfloat16'),
            sl.DotProductSelfAttention(
                HEADS, WIDTH // HEADS, window - 1, query_network=rotate, key_network=rotate, **half
            ),
            sl.DenseShaped([WIDTH], use_bias=False, **half),
        ]
    )
    feed_forward = sl.Residual(
        [
            sl.RMSNormalization(param_dtype='bfloat16'),
            sl.Dense(2 * HIDDEN, use_bias=False, **half),
            sl.GatedUnit(None, jax.nn.silu),
            sl.Dense(WIDTH, use_bias=False, **half),
        ]
    )
    return sl.Repeat(sl.Serial([attention, feed_forward]), layers)


def milliseconds_a_token(model: sl.SequenceLayer, batch: int, tokens: int) -> float:
    leaves, structure = jax.tree.flatten(model)

    @functools.partial(jax.jit, donate_argnums=1)
    def run(leaves, state, x):
        model = jax.tree.unflatten(structure, leaves)

        def body(carry, _):
            x, state = carry
            y, state = model.step(x, state, training=False)
            return (y.unmask(), state), None

        (y, state), _ = jax.lax.scan(body, (x, state), None, length=tokens)
        return y, state

    x = sl.Sequence(jnp.ones((batch, 1, WIDTH), jnp.bfloat16), jnp.ones((batch, 1), bool))
    state = jax.jit(lambda: model.get_initial_state(batch, training=False))()
    y, state = run(leaves, state, x)
    best = float('inf')
    for _ in range(5):
        jax.block_until_ready((y, state))
        start = time.perf_counter()
        y, state = run(leaves, state, x)
        jax.block_until_ready((y, state))
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--layers', type=int, default=12)
    parser.add_argument('--tokens', type=int, default=64)
    parser.add_argument('--windows', type=int, nargs='+', default=[256, 1024, 4096, 16384])
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 32])
    arguments = parser.parse_args()
    print(jax.devices()[0].device_kind, 'jax', jax.__version__)
    print('| batch | window | repeated, ms a token | unstacked | limit |')
    print('|---|---|---|---|---|')
    for batch in arguments.batches:
        for window in arguments.windows:
            model = decoder(window, arguments.layers).build(sl.ChannelSpec((WIDTH,), 'bfloat16'), rngs=0)
            weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model))
            caches = 2 * arguments.layers * batch * window * WIDTH * 2
            figures = []
            for candidate in (model, unstack(model)):
                try:
                    figures.append(f'{milliseconds_a_token(candidate, batch, arguments.tokens):.3f}')
                except jax.errors.JaxRuntimeError as error:
                    figures.append(str(error).split(':')[0])
            limit = 1e3 * (weights + caches) / BANDWIDTH
            print(f'| {batch} | {window} | {" | ".join(figures)} | {limit:.3f} |', flush=True)


if __name__ == '__main__':
    main()
