"""Age groups, which some data sets give instead of ages: 25-32, or 70 and older."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa

from cilf.datasets.labels import OLDEST, number
from cilf.errors import UsageError

BOUNDS = ("age_low", "age_high")
"""Columns that hold a group's first and last year."""


class AgeGroup(NamedTuple):
    """An age group from its first to its last year, both included."""

    low: float
    high: float | None
    """None: and older."""

    @property
    def name(self) -> str:
        """The usual notation, such as 25-32 or 70+."""
        return f"{self.low:g}+" if self.high is None else f"{self.low:g}-{self.high:g}"

    @property
    def problem(self) -> str | None:
        """The reason why the group is not valid; None if it is valid."""
        last = self.low if self.high is None else self.high
        return None if 0 <= self.low <= last <= OLDEST else f"an age group of {self.name} years"

    def middle(self, oldest: float) -> float:
        """The middle of its years; `oldest` stands for the last year of an open group."""
        last = max(self.low, oldest) if self.high is None else self.high
        return (self.low + last) / 2


def group_of_row(low: object, high: object) -> AgeGroup | None:
    """The group in a row's columns `age_low` and `age_high`; None if the first year is missing."""
    first = years(low)
    return None if first is None else AgeGroup(first, years(high))


def ordered(groups: Iterable[AgeGroup], data: str) -> list[AgeGroup]:
    """The groups without duplicates, youngest first, checked so that every age belongs to at most one group.

    Args:
        data: the source of the groups, for error messages.

    Raises:
        UsageError: there is only one group, or two groups overlap.
    """
    found = sorted(set(groups), key=lambda group: (group.low, math.inf if group.high is None else group.high))
    if len(found) == 1:
        raise UsageError(f"{data} has only one age group, {found[0].name}: expected at least two")
    for one, next_one in pairwise(found):
        if one.high is None or next_one.low <= one.high:
            raise UsageError(
                f"{data} has the age groups {one.name} and {next_one.name}, which overlap: expected groups without "
                "common years"
            )
    return found


def distinct_bounds(table: pa.Table) -> set[tuple[object, object]]:
    """The distinct pairs of values in the columns `age_low` and `age_high`."""
    distinct = table.select(BOUNDS).group_by(list(BOUNDS)).aggregate([])
    return set(zip(*(distinct[name].to_pylist() for name in BOUNDS), strict=True))


def years(value: object) -> float | None:
    """The number of years in a cell; None if it is empty, NaN or not a number."""
    found = number(value)
    return None if found is None or math.isnan(found) else found
