"""Streams that come and go for minutes: does memory stay flat? `python benchmarks/soak.py --minutes 10`.

Random streams open, push chunks of random sizes, pause and close in a `StreamPool`. Every half minute a line says
how many have been through, what the process holds, and how often the step was compiled. Ends with an error if memory
has grown by more than 5 % since the first minute.
"""

import argparse
import os
import time

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import numpy as np

import seqlayers as sl

PAGE, REPORT = os.sysconf('SC_PAGE_SIZE'), 30  # bytes, seconds
LENGTHS = np.arange(3, 400, 13)  # a new length is traced once, which takes memory too: so not too many


def resident() -> float:
    """Megabytes that this process holds."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--slots', type=int, default=16)
    arguments = parser.parse_args()
    model = sl.models.conformer(width=32, num_layers=2).build(sl.ChannelSpec((16,)), rngs=0)
    pool, draw = sl.StreamPool(model, slots=arguments.slots), np.random.default_rng(0)
    live, closed, timesteps = {}, 0, 0
    begin = reported = time.monotonic()
    first = None
    print(f'{"seconds":>8}{"streams":>10}{"timesteps":>12}{"MB":>8}{"compilations":>14}')
    while (now := time.monotonic()) - begin < 60 * arguments.minutes:
        while len(pool.streams) < arguments.slots:
            stream = pool.open()
            live[stream] = int(draw.choice(LENGTHS))
        for stream, left in list(live.items()):
            size = min(left, int(draw.integers(0, 40)))  # none at all: it pauses
            stream.push(np.zeros((size, 16), np.float32))
            live[stream], timesteps = left - size, timesteps + size
            if live[stream] == 0:
                stream.close()
                del live[stream]
                closed += 1
        pool.run()
        for stream in live:
            stream.read()
        if now - reported >= REPORT:
            reported = now
            held = resident()
            first = first if first or now - begin < 60 else held
            print(f'{now - begin:8.0f}{closed:10,}{timesteps:12,}{held:8.0f}{pool.compilations:14}', flush=True)
    if first and resident() > 1.05 * first:
        raise SystemExit(f'memory grew from {first:.0f} to {resident():.0f} MB')


if __name__ == '__main__':
    main()
