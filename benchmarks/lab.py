"""What a change costs in the architecture lab: `python benchmarks/lab.py`.

One line a model and view: milliseconds of wall time for a tick of the slider (the median of many), and for a change of
the model, which is traced and compiled anew (the median of a few). The block diagram and the receptive field need
no building.
"""

import statistics
import time
from typing import Any

import jax

import seqlayers as sl
from viz.lab import open_lab
from viz.lab.gallery import GALLERY, looks_ahead

VECTORS = sl.ChannelSpec((8,))
MODELS = {
    'convolutions that look ahead': (looks_ahead(), VECTORS),
    'streaming Conformer': GALLERY['streaming Conformer'](),
    '12 Transformer layers': (
        sl.Serial([sl.Dense(8), *[sl.models.transformer_block(8, num_heads=2, past=8).replace(name=None)] * 12]),
        VECTORS,
    ),
    '50 convolutions': (sl.Serial([sl.Conv1D(8, 3, padding='causal') for _ in range(50)]), VECTORS),
}
TICKS, CHANGES = 20, 3


def milliseconds(widget: Any, values: list) -> float:
    """The median time to set a widget to one of the values."""
    times = []
    for value in values:
        start = time.perf_counter()
        widget.value = value
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    print(f'{"model":30}{"view":18}{"tick, ms":>10}{"change, ms":>12}')
    for name, (declaration, spec) in MODELS.items():
        lab = open_lab(declaration, spec)
        lab.widgets.tree.value = (('layers', 0),)
        for view in lab.picture.choice.options:
            lab.picture.choice.value = view
            positions = lab.picture.view.positions
            tick = milliseconds(lab.picture.slider, [positions[i % len(positions)] for i in range(TICKS)])
            names = [repr(f'{view}_{i}') for i in range(CHANGES)]
            change = milliseconds(lab.fields.controls['name'], names)
            print(f'{name:30}{view:18}{tick:10.0f}{change:12.0f}', flush=True)
            jax.clear_caches()


if __name__ == '__main__':
    main()
