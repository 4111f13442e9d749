"""The figure of a leave-one-person-out evaluation: the error of each system, pooled and by age."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from cilf.lopo.tables import NAMES

_OURS, _OTHERS = "#D55E00", "#6b6b6b"


def picture(record: Mapping[str, Any]) -> bytes:
    """Draws the figure as a PNG of 1650 x 750 pixels."""
    rows = sorted(record["systems"], key=lambda row: -row["mae"]["value"])
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, row in enumerate(rows):
        mae = row["mae"]
        colour = _OURS if row["system"].startswith("cilf_ciae") else _OTHERS
        if mae["low"] is not None:
            left.plot([mae["low"], mae["high"]], [place, place], color=colour, linewidth=2)
        left.plot(mae["value"], place, "o", color=colour)
        bands = row["by_age"]
        right.plot(
            range(len(bands)),
            [found["mae"] for found in bands.values()],
            "o-" if colour == _OURS else ".-",
            color=colour,
            alpha=1 if colour == _OURS else 0.5,
            linewidth=2 if colour == _OURS else 1,
        )
    left.set_yticks(range(len(rows)), [NAMES[row["system"]] for row in rows])
    left.set(xlabel="MAE, years, with 95 % intervals over people", title="Pooled error")
    sizes = rows[0]["by_age"]
    right.set_xticks(range(len(sizes)), [f"{band}\n({found['photographs']})" for band, found in sizes.items()])
    right.set(xlabel="age (photographs)", ylabel="MAE, years", title="Error by age; CILF-CIAE in colour")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
