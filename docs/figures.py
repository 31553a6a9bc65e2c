"""Draws the pictures of the README and of the course's map: `make figures`."""

import base64
import io
from pathlib import Path

import jax
import nbformat
from PIL import Image

import seqlayers as sl
import viz

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / 'docs' / 'images'
THUMBNAIL = 440  # px


def encoder() -> sl.SequenceLayer:
    """The model of the README, narrower."""
    return sl.Serial(
        [
            sl.Conv1D(8, kernel_size=5, strides=2, padding='causal', activation=jax.nn.gelu),
            sl.Residual([sl.RMSNormalization(), sl.Conv1D(8, kernel_size=3, padding='same')]),
            sl.Conv1D(8, kernel_size=3, dilation_rate=2, padding='causal'),
        ]
    ).build(sl.ChannelSpec((4,)), rngs=0)


def thumbnail(lesson: Path) -> Image.Image:
    """The picture of a lesson: in the cell tagged `thumbnail`, or the first one."""
    cells = [cell for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == 'code']
    cells.sort(key=lambda cell: 'thumbnail' not in cell.metadata.get('tags', []))
    pictures = (o.data['image/png'] for cell in cells for o in cell.outputs if 'image/png' in o.get('data', {}))
    image = Image.open(io.BytesIO(base64.b64decode(next(pictures)))).convert('RGB')
    return image.resize((THUMBNAIL, round(image.height * THUMBNAIL / image.width)), Image.Resampling.LANCZOS)


def main() -> None:
    (IMAGES / 'lessons').mkdir(parents=True, exist_ok=True)
    model = encoder()
    x = sl.testing.random_sequence(model.input_spec, 24)[:1]
    viz.save(viz.trace_receptive_field(model), IMAGES / 'receptive_field.png')
    viz.save(viz.trace_steps(model, x), IMAGES / 'step_tape.png')
    viz.save(viz.trace_diagram(sl.models.conformer(width=32), sl.ChannelSpec((40,))), IMAGES / 'diagram.png')
    for lesson in sorted(ROOT.glob('tutorials/[0-9]*.ipynb')):
        thumbnail(lesson).save(IMAGES / 'lessons' / f'{lesson.name[:2]}.png', optimize=True)


if __name__ == '__main__':
    main()
