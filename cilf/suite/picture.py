"""Picture of all systems on a data set: errors, cumulative scores, calibration and risk-coverage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cilf.evaluation.plots import STYLE
from cilf.suite.result import Entry

_DASHED: dict[str, Any] = {"color": "#6b6b6b", "linestyle": "--", "linewidth": 1.2}


def picture(data: str, systems: Sequence[Entry]) -> bytes:
    """Bars of the systems' figures with bootstrap intervals, as PNG. For errors in years or ranks, there are also
    cumulative scores, reliability of the expected error and risk-coverage; curves are means over all runs."""
    with mpl.rc_context(STYLE):
        colours = [mpl.colormaps["tab20"](index % 20) for index in range(len(systems))]
        if unit := systems[0].kind.unit:
            drawing = Figure(figsize=(15, 10), layout="constrained")
            (errors, scores), (reliability, risk) = drawing.subplots(2, 2)
            _bars(errors, systems, colours, "mae", "MAE", unit)
            _curves(scores, reliability, risk, systems, colours, unit)
        else:
            drawing = Figure(figsize=(15, 6), layout="constrained")
            accuracy, one_off = drawing.subplots(1, 2)
            _bars(accuracy, systems, colours, "accuracy", "Accuracy", "% of faces in the right age group")
            _bars(one_off, systems, colours, "one_off", "1-off", "% of faces at most one age group off")
        drawing.suptitle(f"Comparison of systems on {data}", x=0.01, ha="left", fontsize=13)
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _curves(
    scores: Axes,
    reliability: Axes,
    risk: Axes,
    systems: Sequence[Entry],
    colours: Sequence[tuple[float, ...]],
    unit: str,
) -> None:
    for system, colour in zip(systems, colours, strict=True):
        within = system.results[0].record["cumulative_score"]["within"]
        percent = system.mean(lambda record: record["cumulative_score"]["percent"])
        scores.plot(within, percent, color=colour, label=system.name)
        expected, observed = _reliability(system)
        reliability.plot(expected, observed, color=colour, marker="o", markersize=3, linewidth=1)
        coverage = 100 * np.array(system.results[0].record["risk_coverage"]["coverage"])
        risk.plot(coverage, system.mean(lambda record: record["risk_coverage"]["mae"]), color=colour)
    limit = max(reliability.get_xlim()[1], reliability.get_ylim()[1])
    reliability.plot([0, limit], [0, limit], **_DASHED)
    scores.set(title="Cumulative score", xlabel=f"error at most, {unit}", ylabel="faces, %")
    scores.set(xlim=(0, 15 if unit == "years" else 5), ylim=(0, 100))
    reliability.set(title="Calibration", xlabel=f"expected error, {unit} (dashed: perfect)", ylabel=f"MAE, {unit}")
    reliability.set(xlim=(0, limit), ylim=(0, limit))
    risk.set(title="Risk-coverage", xlabel="faces kept, lowest expected error first, %", ylabel=f"their MAE, {unit}")
    risk.set(xlim=(0, 100), ylim=(0, None))
    scores.legend(loc="lower right")


def _bars(
    axes: Axes, systems: Sequence[Entry], colours: Sequence[tuple[float, ...]], name: str, title: str, unit: str
) -> None:
    """A bar per system with a bootstrap interval, the mean over its runs, and a dot per fold or seed."""
    places = np.arange(len(systems))

    def value(record: Mapping[str, Any]) -> float:
        return float(record["figures"][name])

    def ends(record: Mapping[str, Any]) -> tuple[float, float]:
        figure = record["all"][name]
        return (figure["low"], figure["high"]) if figure["low"] is not None else (figure["value"], figure["value"])

    means = np.array([system.values(value).mean() for system in systems])
    ends_S2 = np.array([system.mean(ends) for system in systems])
    whiskers = np.maximum([means - ends_S2[:, 0], ends_S2[:, 1] - means], 0)
    axes.barh(places, means, xerr=whiskers, color=list(colours), height=0.65, error_kw={"capsize": 2.5})
    for place, system in enumerate(systems):
        values = system.values(value)
        if len(values) > 1:
            axes.plot(values, np.full(len(values), place), ".", color="black", markersize=4)
    axes.set_yticks(places, [system.name for system in systems])
    axes.set_ylim(len(systems) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    dots = "folds" if systems[0].folds else "seeds"
    axes.set(title=title, xlabel=f"{unit}; whiskers: 95 % bootstrap over faces, dots: {dots}")


def _reliability(system: Entry) -> np.ndarray:
    """Expected and true errors of the bins [2, B], means over the runs. A fold with fewer faces than bins has fewer
    points; the mean uses only the runs with the most bins."""
    bins = [result.record["reliability"]["bins"] for result in system.results]
    most = max(map(len, bins))
    curves = [[[b[name]["value"] for b in of] for name in ("expected_error", "mae")] for of in bins if len(of) == most]
    return np.mean(curves, axis=0)
