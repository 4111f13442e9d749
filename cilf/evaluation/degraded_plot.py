"""Picture of the results of `--degraded`: a portrait under each degradation, and the effects on estimates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from skimage.data import astronaut

from cilf.datasets.faces import MAX_PIXELS
from cilf.evaluation.degradations import DEGRADATIONS
from cilf.evaluation.layout import Record, title
from cilf.evaluation.plots import BLUE, DASHED, GREEN, as_png, whisker_lengths
from cilf.images.decode import decode

_ORANGE, _PURPLE = "#D55E00", "#7B5EA7"
_COLOURS = {"": "#444444", "file": BLUE, "detail": GREEN, "light": _ORANGE, "framing": _PURPLE}
_FACE = np.s_[10:200, 130:320]
"""Position of the face in scikit-image's astronaut, a portrait in the public domain."""
_COLUMNS = 8


def picture(record: Record) -> bytes:
    """The figure as a PNG, 2250 x 1800 pixels."""
    return as_png(lambda: figure(record))


def figure(record: Record) -> Figure:
    """A portrait under each degradation, above four panels with one line per degradation."""
    drawing = Figure(figsize=(15, 12), layout="constrained")
    grid = drawing.add_gridspec(2, 1, height_ratios=[1, 1.45])
    above, below = drawing.add_subfigure(grid[0]), drawing.add_subfigure(grid[1])
    _portraits(above, record)
    panels = below.subplots(1, 4, sharey=True, width_ratios=[1.25, 1.25, 1, 1])
    measure, _, unit = record["measure"].partition(", ")
    clean = record["degradations"][0]["error"]["value"]
    _values(panels[0], record, "above_clean", f"{measure} above {clean:.2f}, {unit}", 1)
    _values(panels[1], record, "moved", f"estimate moved, {record['unit']}", 1)
    _values(panels[2], record, "covered", "truth inside the 90 % interval, %", 100)
    _values(panels[3], record, "accepted", "accepted, %", 100)
    panels[2].axvline(90, **DASHED)
    for axes in panels[2:]:
        axes.set_xlim(right=101)
    drawing.suptitle(
        f"{title(record)}: degraded photographs\n{record['data']['sampled']:,} faces, the same for each; "
        "whiskers: 95 % bootstrap intervals",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return drawing


def _portraits(drawing: SubFigure, record: Record) -> None:
    face_HWC = np.ascontiguousarray(astronaut()[_FACE])
    side = len(face_HWC)
    files = {known.name: known.saved(known.pixels(face_HWC, side, 0)) for known in DEGRADATIONS}
    rows = record["degradations"]
    panels = drawing.subplots(-(-len(rows) // _COLUMNS), _COLUMNS)
    for axes in panels.flat:
        axes.axis("off")
    for axes, row in zip(panels.flat, rows, strict=False):
        name = row["name"]
        axes.imshow(decode(files[name], side, MAX_PIXELS).crop if name in files else face_HWC)
        axes.set_title(name, fontsize=10, loc="center", pad=3, color=_COLOURS[row["kind"]])


def _values(axes: Axes, record: Record, column: str, heading: str, scale: float) -> None:
    rows = record["degradations"]
    for place, row in enumerate(rows):
        if row["rows"]:
            figure = row[column]
            axes.errorbar(
                scale * figure["value"],
                place,
                xerr=scale * whisker_lengths([figure]),
                fmt="o",
                color=_COLOURS[row["kind"]],
                markersize=7,
                elinewidth=2,
            )
    axes.axvline(scale * rows[0][column]["value"], color="#6b6b6b", linewidth=1.2)
    axes.set(title=heading, yticks=range(len(rows)), yticklabels=list(map(_named, rows)))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _named(row: Record) -> str:
    return f"{row['name']} ({row['lost']} lost)" if row["lost"] else row["name"]
