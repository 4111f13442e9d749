"""Means of columns over groups of rows, with bootstrap intervals: the figures of all evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cilf.evaluation.bootstrap import LEVEL, RESAMPLES, SEED, Resampled, interval, resample

SMALLEST = 30
"""Smallest number of rows with shown figures; smaller groups are only named, as their figures are mostly chance."""

_PEOPLE = ("gender", "race")


@dataclass(frozen=True)
class Group:
    """A group of rows: the property that they share (`by`), and its value (`name`)."""

    by: str
    name: str
    rows: np.ndarray
    """Row numbers, int."""


def groups_of_people(labels: Mapping[str, np.ndarray]) -> list[Group]:
    """A group for each gender and each race."""
    found: list[Group] = []
    for by in _PEOPLE:
        values_N = labels.get(by, np.empty(0, object))
        values = sorted({value for value in values_N if value is not None})
        found += [Group(by, value, np.flatnonzero(values_N == value)) for value in values]
    return found


def groups_by_judgement(accepted_N: np.ndarray) -> list[Group]:
    """The group of accepted rows, and the group of the others."""
    rows = {"accepted": np.flatnonzero(accepted_N), "not accepted": np.flatnonzero(~accepted_N)}
    return [Group("judgement", name, found) for name, found in rows.items()]


class Figures:
    """Figures of groups of rows, and their intervals from resamples.

    Args:
        columns: columns to average, [N] each, by name. Groups are compared by the first one.
        subjects_N: subject of each row, object, None where unknown. Whole subjects are resampled, and a row without
            a subject counts as one subject. If this is None, rows are resampled.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], groups: list[Group], subjects_N: np.ndarray | None) -> None:
        self.names = list(columns)
        self.values_NK = np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1)
        self.over = "rows" if subjects_N is None else "subjects"
        self.units_N = _units(subjects_N, len(self.values_NK))
        self.place = {(group.by, group.name): index for index, group in enumerate(groups)}
        self.resampled: Resampled = resample(self.values_NK, [group.rows for group in groups], self.units_N)

    def drawn(self) -> dict[str, Any]:
        """Settings of the bootstrap."""
        return {
            "over": self.over,
            "units": int(self.units_N.max()) + 1,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "seed": SEED,
        }

    def record(self, group: Group) -> dict[str, Any]:
        """Number of rows, number of resampled units, and all figures of a group; no figures if it has too few rows."""
        shown = len(group.rows) >= SMALLEST or group.by == "all"
        record: dict[str, Any] = {"by": group.by, "group": group.name, "rows": len(group.rows), "hidden": not shown}
        if shown:
            record["units"] = len(np.unique(self.units_N[group.rows]))
            record |= {name: self.figure(group, name) for name in self.names}
        return record

    def figure(self, group: Group, name: str) -> dict[str, float | None]:
        """Mean of a column over a group, with its interval."""
        value = float(self.values_NK[group.rows, self.names.index(name)].mean())
        return _figure(value, self._means(group, name))

    def _means(self, group: Group, name: str) -> np.ndarray:
        return self.resampled.means_RGK[:, self.place[group.by, group.name], self.names.index(name)]

    def median(self, group: Group) -> dict[str, float | None]:
        """Median of the first column over a group, with its interval."""
        medians_R = self.resampled.medians_RG[:, self.place[group.by, group.name]]
        return _figure(float(np.median(self.values_NK[group.rows, 0])), medians_R)

    def macro(self, groups: list[Group]) -> dict[str, Any] | None:
        """Unweighted mean of the groups' means of the first column; groups with too few rows are left out.

        `of` is the number of all groups. Returns None if fewer than two groups have enough rows.
        """
        shown = [group for group in groups if len(group.rows) >= SMALLEST]
        if len(shown) < 2:
            return None
        value = float(np.mean([self.values_NK[group.rows, 0].mean() for group in shown]))
        means_R = np.mean([self._means(group, self.names[0]) for group in shown], axis=0)
        return {**_figure(value, means_R), f"{shown[0].by}s": [group.name for group in shown], "of": len(groups)}

    def gaps(self, groups: list[Group]) -> dict[str, dict[str, Any]]:
        """Gaps between genders and between races; left out where `gap` returns None."""
        by_kind = {by: self.gap([group for group in groups if group.by == by]) for by in _PEOPLE}
        return {by: gap for by, gap in by_kind.items() if gap}

    def gap(self, groups: list[Group]) -> dict[str, Any] | None:
        """Largest difference of the first column's mean between two groups; None without two groups of enough rows.

        The interval is that of the difference between these two groups. As they were chosen for the largest
        difference, the gap is slightly larger than it will be on new data.
        """
        shown = [group for group in groups if len(group.rows) >= SMALLEST]
        if len(shown) < 2:
            return None
        ranked = sorted(shown, key=lambda group: self.values_NK[group.rows, 0].mean())
        lowest, highest = ranked[0], ranked[-1]
        value = float(self.values_NK[highest.rows, 0].mean() - self.values_NK[lowest.rows, 0].mean())
        gap_R = self._means(highest, self.names[0]) - self._means(lowest, self.names[0])
        return {**_figure(value, gap_R), "highest": highest.name, "lowest": lowest.name}


def _figure(value: float, figures_R: np.ndarray) -> dict[str, float | None]:
    low, high = interval(figures_R) or (None, None)
    return {"value": value, "low": low, "high": high}


def _units(subjects_N: np.ndarray | None, rows: int) -> np.ndarray:
    """Number of the resampled unit of each row: one per subject, and a separate one for each row without a subject."""
    if subjects_N is None:
        return np.arange(rows)
    names = [f"row {row}" if subject is None else f"subject {subject}" for row, subject in enumerate(subjects_N)]
    return np.unique(names, return_inverse=True)[1]
