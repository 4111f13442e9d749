"""Errors and coverage of estimates against the truth: ages, ranks or age groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cilf.age_space import AgeSpace
from cilf.datasets.age_groups import AgeGroup
from cilf.evaluation.age_groups import covered, group_of, true_groups
from cilf.evaluation.scale import scale_of


@dataclass(frozen=True)
class Truth:
    """True ages, ranks or age groups of N faces."""

    space: AgeSpace
    """Ages or ranks that the model estimates; its oldest age is the last year of a group without an upper bound."""
    ages_N: np.ndarray
    """True ages or ranks, float; NaN where only a group is known."""
    groups: Sequence[AgeGroup] | None
    """Age groups, the youngest first; None if ages are known."""
    true_N: np.ndarray | None
    """Number of each face's group, int64; None if ages are known."""

    @staticmethod
    def of(
        space: AgeSpace, groups: Sequence[AgeGroup] | None, ages_N: np.ndarray, labels: Mapping[str, np.ndarray]
    ) -> Truth:
        """Create the truth from ages and labels as in cilf.datasets.faces.Faces."""
        return Truth(space, ages_N, groups, None if groups is None else true_groups(labels, groups))

    @property
    def unit(self) -> str:
        """Unit of ages: `years` or `ranks`."""
        return scale_of(self.space).unit

    @property
    def measure(self) -> str:
        """Name and unit of the mean of `errors`."""
        return f"MAE, {self.unit}" if self.groups is None else "wrong group, %"

    def errors(self, estimates_N: np.ndarray) -> np.ndarray:
        """Absolute errors; with age groups, 100 if the estimate is nearest to a wrong group and 0 otherwise."""
        if self.groups is None:
            return np.abs(estimates_N - self.ages_N)
        return 100.0 * (group_of(estimates_N, self.groups) != self.true_N)

    def covered(self, low_N: np.ndarray, high_N: np.ndarray) -> np.ndarray:
        """1 where the interval contains the truth and 0 elsewhere; with age groups, the share of the group's years
        inside the interval, see cilf.evaluation.age_groups.covered."""
        if self.groups is None or self.true_N is None:
            return ((low_N <= self.ages_N) & (self.ages_N <= high_N)).astype(float)
        return covered(low_N, high_N, self.groups, self.true_N, self.space.oldest)

    def take(self, rows_M: np.ndarray) -> Truth:
        """The truth of the faces at the positions `rows_M`, int [M]."""
        true_M = None if self.true_N is None else self.true_N[rows_M]
        return replace(self, ages_N=self.ages_N[rows_M], true_N=true_M)
