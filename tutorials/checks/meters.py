"""Outputs of meters under their input, timestep by timestep."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import seqlayers as sl
from viz.page import Picture

from .pictures import number, plot_rows, sequence_row


def plot_meters(x: sl.Sequence, outputs: Mapping[str, Any], right: str, title: str) -> Picture:
    """The first item of `x`, and under it a row for each meter: valid outputs that differ from `right` are marked.

    Args:
      x: the input, one channel.
      outputs: for each meter its values `[batch, time]`.
      right: the name of the meter that the others are compared with.
      title: the finding.
    """
    mask = np.asarray(x.mask[0])
    target = np.asarray(outputs[right][0])
    rows = [sequence_row('x', np.asarray(x.values[0]), mask)]
    for name, values in outputs.items():
        row = sequence_row(name, np.asarray(values[0]), mask)
        differs = mask & ~np.isclose(values[0], target)
        marks = ['differs' if wrong else mark for wrong, mark in zip(differs, row.marks, strict=True)]
        labels = [number(v) if valid else '' for v, valid in zip(np.asarray(values[0]), mask, strict=True)]
        rows.append(row._replace(marks=marks, labels=labels))
    return plot_rows(rows, title, f'Plain cells are valid, crossed cells are invalid. Framed: not what {right} gives.')
