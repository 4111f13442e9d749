"""Figures of groups of rows, by age, gender, race and acceptance, each with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cilf.estimator import Estimates
from cilf.evaluation.bootstrap import LEVEL, RESAMPLES, SEED, Resampled, interval, resample
from cilf.evaluation.judgement import aurc, calibration_error, equal_bins, risk_coverage
from cilf.evaluation.metrics import BANDS, cumulative_score, within_years

SMALLEST = 30
"""Groups of fewer rows are named, and their figures are not shown: chance would speak louder than the model."""

_CURVE = np.arange(1, 101) / 100
_GAPS = ("gender", "race")


@dataclass(frozen=True)
class Group:
    """Some rows, and what they have in common."""

    by: str
    name: str
    rows: np.ndarray
    """int."""


def groups_of(ages_N: np.ndarray, accepted_N: np.ndarray, labels: Mapping[str, np.ndarray]) -> list[Group]:
    """All rows, then those of each age band, decade, gender, race, and those accepted and not; none is empty."""
    found = [Group("all", "all", np.arange(len(ages_N)))]
    for name, (low, high) in BANDS.items():
        found.append(Group("age", name, np.flatnonzero((ages_N >= low) & (ages_N < high))))
    for decade in range(0, int(ages_N.max()) + 1, 10):
        rows = np.flatnonzero((ages_N >= decade) & (ages_N < decade + 10))
        found.append(Group("decade", f"{decade}-{decade + 9}", rows))
    for by in ("gender", "race"):
        values_N = labels.get(by, np.empty(0, object))
        values = sorted({value for value in values_N if value is not None})
        found += [Group(by, value, np.flatnonzero(values_N == value)) for value in values]
    found.append(Group("judgement", "accepted", np.flatnonzero(accepted_N)))
    found.append(Group("judgement", "not accepted", np.flatnonzero(~accepted_N)))
    return [group for group in found if len(group.rows)]


def assess(estimates: Estimates, ages_N: np.ndarray, labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Everything about the estimates of N >= 1 faces, as strict JSON types.

    Years, shares in 0..1, CS in per cent. Where there are subjects, whole subjects are drawn for the intervals,
    and a row without one is its own; else rows are.

    Args:
        labels: `gender`, `race` and `subject` of the rows, as in cilf.datasets.faces.Faces.
    """
    errors_N = np.abs(estimates.age - ages_N)
    columns = {
        "mae": errors_N,
        "cs5": 100 * within_years(estimates.age - ages_N),
        "bias": estimates.age - ages_N,
        "mae_before_correction": np.abs(estimates.first_age - ages_N),
        "coverage": (estimates.age_low <= ages_N) & (ages_N <= estimates.age_high),
        "width": estimates.age_high - estimates.age_low,
        "expected_error": estimates.expected_error,
        "accepted": estimates.accepted,
        "corrected": estimates.corrections > 0,
    }
    units_N = _units(labels.get("subject"), len(ages_N))
    groups = groups_of(ages_N, estimates.accepted, labels)
    bins = [Group("bin", str(index), rows) for index, rows in enumerate(equal_bins(estimates.expected_error))]
    known = _Figures(columns, [*groups, *bins], units_N)
    records = [known.record(group) for group in groups]
    order_N = np.ceil(_CURVE * len(ages_N)).astype(int) - 1
    accepted = next((r for r in records if (r["by"], r["group"]) == ("judgement", "accepted")), None)
    return {
        "bootstrap": {
            "over": "subjects" if "subject" in labels else "rows",
            "units": int(units_N.max()) + 1,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "seed": SEED,
        },
        "smallest_group": SMALLEST,
        "all": records[0],
        "groups": records[1:],
        "macro_mae": known.macro_mae([group for group in groups if group.by == "decade"]),
        "gaps": {by: gap for by in _GAPS if (gap := known.gap([group for group in groups if group.by == by]))},
        "cumulative_score": {
            "within": list(range(16)),
            "percent": [cumulative_score(estimates.age, ages_N, within) for within in range(16)],
        },
        "risk_coverage": {
            "coverage": _CURVE.tolist(),
            "mae": risk_coverage(errors_N, estimates.expected_error)[order_N].tolist(),
            "mae_oracle": risk_coverage(errors_N, errors_N)[order_N].tolist(),
            "aurc": aurc(errors_N, estimates.expected_error),
            "aurc_oracle": aurc(errors_N, errors_N),
            "accepted": accepted and {"coverage": accepted["rows"] / len(ages_N), "mae": accepted.get("mae")},
        },
        "reliability": {
            "bins": [
                {
                    "rows": len(b.rows),
                    "expected_error": known.figure(b, "expected_error"),
                    "mae": known.figure(b, "mae"),
                }
                for b in bins
            ],
            "calibration_error": calibration_error(errors_N, estimates.expected_error),
        },
    }


class _Figures:
    """Figures of groups, from rows and from resamples."""

    def __init__(self, columns: Mapping[str, np.ndarray], groups: list[Group], units_N: np.ndarray) -> None:
        self.names = list(columns)
        self.values_NK = np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1)
        self.units_N = units_N
        self.place = {(group.by, group.name): index for index, group in enumerate(groups)}
        self.resampled: Resampled = resample(self.values_NK, [group.rows for group in groups], units_N)

    def record(self, group: Group) -> dict[str, Any]:
        """Rows, subjects or rows drawn, and every figure; no figures where rows are too few."""
        shown = len(group.rows) >= SMALLEST or group.by == "all"
        record: dict[str, Any] = {"by": group.by, "group": group.name, "rows": len(group.rows), "hidden": not shown}
        if shown:
            record["units"] = len(np.unique(self.units_N[group.rows]))
            record |= {name: self.figure(group, name) for name in self.names}
            errors_M = self.values_NK[group.rows, 0]
            medians_R = self.resampled.medians_RG[:, self.place[group.by, group.name]]
            record["median_absolute_error"] = _figure(float(np.median(errors_M)), medians_R)
        return record

    def figure(self, group: Group, name: str) -> dict[str, float | None]:
        """A column's mean over a group."""
        value = float(self.values_NK[group.rows, self.names.index(name)].mean())
        return _figure(value, self._means(group, name))

    def _means(self, group: Group, name: str) -> np.ndarray:
        return self.resampled.means_RGK[:, self.place[group.by, group.name], self.names.index(name)]

    def macro_mae(self, decades: list[Group]) -> dict[str, Any] | None:
        """Mean of the decades' MAE, each counting the same; decades of too few rows are left out."""
        shown = [group for group in decades if len(group.rows) >= SMALLEST]
        if not shown:
            return None
        value = float(np.mean([self.values_NK[group.rows, 0].mean() for group in shown]))
        means_R = np.mean([self._means(group, "mae") for group in shown], axis=0)
        return {**_figure(value, means_R), "decades": [group.name for group in shown]}

    def gap(self, groups: list[Group]) -> dict[str, Any] | None:
        """The largest difference between two groups' MAE; None without two groups of enough rows.

        The interval is that of the difference between these two. That they were picked for being furthest apart
        makes the gap look a little larger than new data will.
        """
        shown = [group for group in groups if len(group.rows) >= SMALLEST]
        if len(shown) < 2:
            return None
        ranked = sorted(shown, key=lambda group: self.values_NK[group.rows, 0].mean())
        best, worst = ranked[0], ranked[-1]
        value = float(self.values_NK[worst.rows, 0].mean() - self.values_NK[best.rows, 0].mean())
        gap_R = self._means(worst, "mae") - self._means(best, "mae")
        return {**_figure(value, gap_R), "highest": worst.name, "lowest": best.name}


def _figure(value: float, figures_R: np.ndarray) -> dict[str, float | None]:
    low, high = interval(figures_R) or (None, None)
    return {"value": value, "low": low, "high": high}


def _units(subject_N: np.ndarray | None, rows: int) -> np.ndarray:
    """What is drawn: a number per subject, and one of its own for each row without."""
    if subject_N is None:
        return np.arange(rows)
    names = [f"row {row}" if subject is None else f"subject {subject}" for row, subject in enumerate(subject_N)]
    return np.unique(names, return_inverse=True)[1]
