"""Picture of an evaluation by age group: accuracy by age and by group of people, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cilf.evaluation.layout import Record, drawn, title
from cilf.evaluation.plots import BLUE, DASHED, GREEN, as_png, lines, of_kind

_KINDS = (("accuracy", BLUE, "o", "right group"), ("one_off", GREEN, "s", "at most one off"))


def picture(record: Record) -> bytes:
    """The figure as a PNG, 2400 x 780 pixels."""
    return as_png(lambda: figure(record))


def figure(record: Record) -> Figure:
    """The figure of an evaluation by age group, with all panels."""
    drawing = Figure(figsize=(16, 5.2), layout="constrained")
    by_age, by_people, confusion = drawing.subplots(1, 3)
    _accuracy(by_age, of_kind(record, "age"), record["all"], "Accuracy by true age group")
    people = [by for by in ("gender", "race") if of_kind(record, by)] or ["judgement"]
    rows = [row for by in people for row in of_kind(record, by)]
    _accuracy(by_people, rows, record["all"], f"Accuracy by {' and '.join(people)}")
    _confusion(confusion, record)
    accuracy, one_off = record["all"]["accuracy"], record["all"]["one_off"]
    drawing.suptitle(
        f"{title(record)}\nAccuracy {accuracy['value']:.1f} %, 1-off {one_off['value']:.1f} % of "
        f"{len(record['age_groups'])} age groups, {record['data']['evaluated']:,} faces; whiskers: {drawn(record)}",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return drawing


def _accuracy(axes: Axes, rows: Sequence[Record], everyone: Record, heading: str) -> None:
    for name, colour, marker, label in _KINDS:
        places, values, whiskers = lines(axes, rows, name)
        axes.errorbar(values, places, xerr=whiskers, fmt=marker, color=colour, markersize=7, elinewidth=2, label=label)
    mean = everyone["accuracy"]["value"]
    axes.axvline(mean, **DASHED)
    axes.set(title=heading, xlabel=f"rows, % (dashed: accuracy of all rows, {mean:.1f} %)", xlim=(-2, 102))
    axes.legend(loc="lower left")


def _confusion(axes: Axes, record: Record) -> None:
    names = [group["name"] for group in record["age_groups"]]
    counts_GG = np.array(record["confusion"])
    share_GG = 100 * counts_GG / np.maximum(counts_GG.sum(axis=1, keepdims=True), 1)
    axes.imshow(share_GG, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for true, row in enumerate(share_GG):
        for chosen, share in enumerate(row):
            if counts_GG[true, chosen]:
                axes.text(chosen, true, f"{share:.0f}", ha="center", va="center", color="w" if share > 60 else "k")
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set(title="Estimated group by true group, %", xlabel="estimated", ylabel="true")
