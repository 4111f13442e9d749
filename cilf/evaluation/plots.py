"""Picture of an evaluation by age or rank: eight panels of errors by group, coverage, bias and calibration."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cilf.evaluation.layout import SHARES, Record, drawn, title

# Okabe & Ito's palette, which colour-blind readers can distinguish.
BLUE, _RED, GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"

DASHED: dict[str, Any] = {"color": _RED, "linestyle": "--", "linewidth": 1.3}
"""Style of reference lines."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "figure.facecolor": "white",
    "legend.frameon": False,
    # A name may contain a dollar sign.
    "text.parse_math": False,
    "legend.fontsize": 9,
}


def as_png(draw: Callable[[], Figure]) -> bytes:
    """Figure that `draw` returns, in the style of all figures, as a PNG of 150 pixels per inch."""
    with mpl.rc_context(STYLE):
        buffer = io.BytesIO()
        draw().savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def picture(record: Record, estimates: pa.Table) -> bytes:
    """The figure as a PNG, 2400 x 1290 pixels."""
    return as_png(lambda: figure(record, estimates))


def figure(record: Record, estimates: pa.Table) -> Figure:
    """The figure with all panels.

    Args:
        record: record of a cilf.evaluation.job.Evaluation.
        estimates: table with the columns age and estimate.
    """
    space = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04)
    drawing = Figure(figsize=(16, 8.6), layout=space)
    panels = drawing.subplots(2, 4)
    unit = record["unit"]
    by = {"years": "age", "ranks": "rank"}[unit]
    bands, band = of_kind(record, by), "age band" if by == "age" else by
    _mae(panels[0, 0], bands, record, f"MAE by {band}")
    people = [kind for kind in ("gender", "race") if of_kind(record, kind)] or [
        "decade" if by == "age" else "judgement"
    ]
    groups = [row for kind in people for row in of_kind(record, kind)]
    _mae(panels[0, 1], groups, record, f"MAE by {' and '.join(people)}")
    _cumulative_score(panels[0, 2], record)
    _density(panels[0, 3], estimates["age"].to_numpy(), estimates["estimate"].to_numpy(), unit)
    _coverage(panels[1, 0], bands)
    _bias(panels[1, 1], bands, f"Bias by {band}", unit)
    _reliability(panels[1, 2], record["reliability"], unit)
    _risk_coverage(panels[1, 3], record)
    mae = record["all"]["mae"]
    share = SHARES[unit]
    epsilon = f"ε-error {record['epsilon_error']['value']:.3f}, " if record["epsilon_error"] else ""
    drawing.suptitle(
        f"{title(record)}\nMAE {mae['value']:.2f} {unit}, {share.heading} {record['all'][share.name]['value']:.1f} %, "
        f"{epsilon}{record['data']['evaluated']:,} faces; bars and whiskers: {drawn(record)}",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return drawing


def of_kind(record: Record, by: str) -> list[Record]:
    """The groups of one kind: age, gender and so on."""
    return [row for row in record["groups"] if row["by"] == by]


def lines(axes: Axes, rows: Sequence[Record], name: str, scale: float = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Set up an axis with a line per group, the first on top, labelled with the name and the number of rows; returns
    positions, values and whiskers of the groups that are not hidden."""
    axes.set_yticks(range(len(rows)), [f"{_short(row['group'])} ({row['rows']:,})" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for place, row in enumerate(rows):
        if row["hidden"]:
            axes.text(0.02, place, "too few rows", color=_GREY, va="center", transform=axes.get_yaxis_transform())
    known = [(place, row[name]) for place, row in enumerate(rows) if not row["hidden"]]
    values = scale * np.array([figure["value"] for _, figure in known])
    return np.array([place for place, _ in known]), values, scale * whisker_lengths([figure for _, figure in known])


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def whisker_lengths(figures: Sequence[Record]) -> np.ndarray:
    """Lengths of the whiskers to the lower and the upper end [2, M]; 0 where a figure has no interval."""
    ends = [(f["low"], f["high"]) if f["low"] is not None else (f["value"], f["value"]) for f in figures]
    values_M = np.array([f["value"] for f in figures])
    ends_M2 = np.array(ends, np.float64).reshape(-1, 2)
    # A percentile interval does not always contain the value itself.
    return np.maximum([values_M - ends_M2[:, 0], ends_M2[:, 1] - values_M], 0)


def _mae(axes: Axes, rows: Sequence[Record], record: Record, heading: str) -> None:
    places, values, whiskers = lines(axes, rows, "mae")
    colours = [GREEN if rows[place]["by"] == "gender" else BLUE for place in places]
    whisker = {"ecolor": "#222222", "elinewidth": 1.2, "capsize": 2.5}
    axes.barh(places, values, xerr=whiskers, color=colours, height=0.62, error_kw=whisker)
    # The values are in a column at the right, where no whisker or line crosses them.
    for place, value in zip(places, values, strict=True):
        axes.text(1, place, f"{value:.2f}", ha="right", va="center", transform=axes.get_yaxis_transform())
    mean = record["all"]["mae"]["value"]
    axes.axvline(mean, **DASHED)
    axes.set(title=heading, xlabel=f"MAE, {record['unit']} (dashed: all rows, {mean:.2f})")
    axes.set_xlim(0, 1.24 * max(mean, *(values + whiskers[1]), 0.1))


def _coverage(axes: Axes, rows: Sequence[Record]) -> None:
    places, values, whiskers = lines(axes, rows, "coverage", scale=100)
    _points(axes, places, values, whiskers)
    axes.axvline(90, **DASHED)
    lowest = min([85.0, *(values - whiskers[0])])
    axes.set(title="Truth inside the 90 % interval", xlabel="rows, % (dashed: nominal 90 %)")
    axes.set_xlim(max(0, 5 * (lowest // 5)), 101)


def _bias(axes: Axes, rows: Sequence[Record], heading: str, unit: str) -> None:
    places, values, whiskers = lines(axes, rows, "bias")
    _points(axes, places, values, whiskers)
    axes.axvline(0, color=_GREY, linewidth=1.2)
    reach = 1.15 * max([1.0, *np.abs(values - whiskers[0]), *np.abs(values + whiskers[1])])
    low, high = ("young", "old") if unit == "years" else ("low", "high")
    axes.set(title=heading, xlabel=f"← too {low}   bias, {unit}   too {high} →", xlim=(-reach, reach))


def _points(axes: Axes, places: np.ndarray, values: np.ndarray, whiskers: np.ndarray) -> None:
    axes.errorbar(values, places, xerr=whiskers, fmt="o", color=BLUE, markersize=7, elinewidth=2, capsize=0)


def _cumulative_score(axes: Axes, record: Record) -> None:
    within, percent = record["cumulative_score"]["within"], record["cumulative_score"]["percent"]
    axes.plot(within, percent, "o-", color=BLUE, linewidth=2, markersize=4)
    mark, last, step = (5, 15, 5) if record["unit"] == "years" else (1, 5, 1)
    score = f"CS({mark}) = {percent[mark]:.1f} %"
    axes.vlines(mark, 0, percent[mark], **DASHED)
    axes.annotate(score, (mark, percent[mark]), (8, -14), textcoords="offset points", color=_RED)
    axes.set(title="Cumulative score", xlabel=f"error at most, {record['unit']}", ylabel="rows, %")
    axes.set(xlim=(0, last), ylim=(0, 100), xticks=range(0, last + 1, step))


def _density(axes: Axes, ages_N: np.ndarray, estimates_N: np.ndarray, unit: str) -> None:
    whole = 10 if unit == "years" else 1
    limit = whole * float(np.ceil(max(ages_N.max(), estimates_N.max(), whole) / whole))
    edges = np.linspace(0, limit, 51)
    # The colour scale starts below one row, so that a single row is visible; the bar shows only possible counts.
    counts, _, _, image = axes.hist2d(ages_N, estimates_N, bins=[edges, edges], cmin=1, cmap="Blues", norm=LogNorm())
    image.set_clim(0.3, max(3, np.nanmax(counts)))
    axes.plot([0, limit], [0, limit], **DASHED)
    axes.set(title="Estimate against truth", xlabel=f"truth, {unit}", ylabel=f"estimate, {unit}")
    ticks = [count for power in range(9) for count in (10**power, 2 * 10**power, 5 * 10**power)]
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, label="rows", ticks=ticks, format="%d")
    bar.minorticks_off()
    bar.ax.set_ylim(bottom=1)


def _reliability(axes: Axes, reliability: Record, unit: str) -> None:
    bins = reliability["bins"]
    expected = np.array([b["expected_error"]["value"] for b in bins])
    observed, whiskers = np.array([b["mae"]["value"] for b in bins]), whisker_lengths([b["mae"] for b in bins])
    limit = 1.08 * max(expected.max(), (observed + whiskers[1]).max(), 0.1)
    axes.plot([0, limit], [0, limit], **DASHED, label="perfect")
    ten = f"{len(bins)} bins of equal size"
    axes.errorbar(expected, observed, yerr=whiskers, fmt="o", color=BLUE, markersize=5, elinewidth=1.5, label=ten)
    axes.set(title="Reliability of the expected error", xlabel=f"expected error, {unit}", ylabel=f"MAE, {unit}")
    axes.set(xlim=(0, limit), ylim=(0, limit))
    axes.text(0.97, 0.04, f"ECE {reliability['calibration_error']:.2f} {unit}", ha="right", transform=axes.transAxes)
    axes.legend(loc="upper left")


def _risk_coverage(axes: Axes, record: Record) -> None:
    risk, mean = record["risk_coverage"], record["all"]["mae"]["value"]
    coverage = 100 * np.array(risk["coverage"])
    axes.axhline(mean, **DASHED, label=f"random order: {mean:.2f}")
    axes.plot(coverage, risk["mae"], color=BLUE, linewidth=2.2, label=f"by expected error: AURC {risk['aurc']:.2f}")
    known = risk["aurc_oracle"]
    axes.plot(
        coverage,
        risk["mae_oracle"],
        color=_GREY,
        linestyle=":",
        linewidth=1.8,
        label=f"by true error: {known:.2f}",
    )
    accepted = risk["accepted"]
    if accepted and accepted["mae"]:
        share, error = 100 * accepted["coverage"], accepted["mae"]["value"]
        label = f"accepted: {share:.1f} %, MAE {error:.2f}"
        axes.plot(share, error, "D", color="black", markersize=7, label=label, clip_on=False, linestyle="none")
    axes.set(title="Risk-coverage", xlabel="rows kept, %", ylabel=f"MAE of rows kept, {record['unit']}", xlim=(0, 100))
    axes.set_ylim(0, 1.55 * max(mean, *risk["mae"]))
    axes.legend(loc="upper left")
