"""Whether one can read a picture."""

import itertools

from viz import style

SIZES = {style.TITLE, style.HEAD, style.LABEL, style.TICK, style.SMALL}


def texts(picture):
    return [t for t in picture.axes[0].texts if t.get_text()]


def check_layout(picture):
    """Texts do not overlap, stay on the page, and have one of the sizes. The picture has been drawn."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(picture)]
    for text, box in boxes:
        inside = box.x0 > 10 and box.x1 < picture.bbox.width - 10 and box.y0 > 4 and box.y1 < picture.bbox.height
        assert inside, f'{text!r} leaves the page'
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 4, f'{first!r} and {second!r} overlap'
    assert {round(t.get_fontsize() / 0.72, 2) for t in texts(picture)} <= SIZES
