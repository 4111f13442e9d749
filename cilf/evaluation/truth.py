"""How far estimates are from what is known of faces: their ages, their ranks, or age groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cilf.ages import AgeSpace
from cilf.datasets.age_groups import AgeGroup
from cilf.evaluation.age_groups import covered, group_of, true_groups
from cilf.evaluation.scale import scale_of


@dataclass(frozen=True)
class Truth:
    """What is known of N faces."""

    space: AgeSpace
    """What the model speaks of; its oldest age ends a group without a last year."""
    ages_N: np.ndarray
    """float, years or ranks; NaN where only a group is known."""
    groups: Sequence[AgeGroup] | None
    """Age groups from the youngest on; None: ages are known."""
    true_N: np.ndarray | None
    """int64, the number of each face's group; None: ages are known."""

    @staticmethod
    def of(
        space: AgeSpace, groups: Sequence[AgeGroup] | None, ages_N: np.ndarray, labels: Mapping[str, np.ndarray]
    ) -> Truth:
        """Make it of ages and labels as cilf.datasets.faces.Faces has them."""
        return Truth(space, ages_N, groups, None if groups is None else true_groups(labels, groups))

    @property
    def unit(self) -> str:
        """Unit of ages: `years` or `ranks`."""
        return scale_of(self.space).unit

    @property
    def measure(self) -> str:
        """What `errors` has the mean of, with its unit."""
        return f"MAE, {self.unit}" if self.groups is None else "wrong group, %"

    def errors(self, estimates_N: np.ndarray) -> np.ndarray:
        """Absolute errors; of groups 100 where the estimate is nearest to a wrong one, and 0 where it is not."""
        if self.groups is None:
            return np.abs(estimates_N - self.ages_N)
        return 100.0 * (group_of(estimates_N, self.groups) != self.true_N)

    def covered(self, low_N: np.ndarray, high_N: np.ndarray) -> np.ndarray:
        """Which intervals hold the truth, 0 or 1; of groups, as cilf.evaluation.age_groups.covered has it."""
        if self.groups is None or self.true_N is None:
            return ((low_N <= self.ages_N) & (self.ages_N <= high_N)).astype(float)
        return covered(low_N, high_N, self.groups, self.true_N, self.space.oldest)

    def take(self, rows_M: np.ndarray) -> Truth:
        """The truth of some faces, by their places, int [M]."""
        true_M = None if self.true_N is None else self.true_N[rows_M]
        return replace(self, ages_N=self.ages_N[rows_M], true_N=true_M)
