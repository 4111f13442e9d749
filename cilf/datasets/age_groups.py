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
"""Columns of a group, years."""


class AgeGroup(NamedTuple):
    """First and last year, both included."""

    low: float
    high: float | None
    """None: and older."""

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.low:g}+" if self.high is None else f"{self.low:g}-{self.high:g}"

    @property
    def problem(self) -> str | None:
        """Why it is none."""
        last = self.low if self.high is None else self.high
        return None if 0 <= self.low <= last <= OLDEST else f"an age group of {self.name} years"

    def middle(self, oldest: float) -> float:
        """Of its years; `oldest` is the last one of a group that has none."""
        last = max(self.low, oldest) if self.high is None else self.high
        return (self.low + last) / 2


def group_of_row(low: object, high: object) -> AgeGroup | None:
    """The group in a row's columns `age_low` and `age_high`; None where the first year is missing."""
    first = years(low)
    return None if first is None else AgeGroup(first, years(high))


def ordered(groups: Iterable[AgeGroup], data: str) -> list[AgeGroup]:
    """Groups that an age can be put into, from the youngest on.

    Args:
        data: where they come from.

    Raises:
        UsageError: there is one alone, or two have years in common.
    """
    found = sorted(set(groups), key=lambda group: (group.low, math.inf if group.high is None else group.high))
    if len(found) == 1:
        raise UsageError(f"{data} has one age group alone, {found[0].name}: there is nothing to tell it from")
    for one, next_one in pairwise(found):
        if one.high is None or next_one.low <= one.high:
            raise UsageError(
                f"{data} has the age groups {one.name} and {next_one.name}, which have years in common: expected "
                "groups of which an age is in one"
            )
    return found


def distinct_bounds(table: pa.Table) -> set[tuple[object, object]]:
    """What stands together in the columns `age_low` and `age_high`."""
    distinct = table.select(BOUNDS).group_by(list(BOUNDS)).aggregate([])
    return set(zip(*(distinct[name].to_pylist() for name in BOUNDS), strict=True))


def years(value: object) -> float | None:
    """What stands in a column of years, or None where nothing does: NaN is nothing."""
    found = number(value)
    return None if found is None or math.isnan(found) else found
