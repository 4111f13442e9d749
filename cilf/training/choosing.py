"""Metrics of the averaged weights after an epoch, on the rows with the `choose` split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cilf.datasets.age_groups import AgeGroup
from cilf.evaluation.age_groups import group_of
from cilf.evaluation.metrics import summarise


def figures(
    estimates_N: np.ndarray,
    ages_N: np.ndarray,
    low_N: np.ndarray,
    high_N: np.ndarray,
    groups: Sequence[AgeGroup],
    bands: Mapping[str, tuple[float, float]],
) -> dict[str, float]:
    """The results of cilf.evaluation.metrics.summarise for rows with ages, and for rows with groups `group_rows`, and
    `accuracy` and `one_off` as in cilf.evaluation.age_groups, per cent. Metrics without rows are left out.

    Args:
        estimates_N: years.
        ages_N, low_N, high_N: as in cilf.training.epochs.Views.
        groups: the age groups that rows have instead of ages. Rows of other groups are not counted.
        bands: as in `summarise`.
    """
    exact_N = low_N == high_N
    result = summarise(estimates_N[exact_N], ages_N[exact_N], bands) if exact_N.any() else {}
    starts_G = np.array([group.low for group in groups])
    grouped_N = ~exact_N & np.isin(low_N, starts_G)
    if grouped_N.any():
        off_N = np.abs(group_of(estimates_N[grouped_N], groups) - np.searchsorted(starts_G, low_N[grouped_N]))
        shares = {"accuracy": 100 * float((off_N == 0).mean()), "one_off": 100 * float((off_N <= 1).mean())}
        result |= {"group_rows": int(grouped_N.sum()), **shares}
    return result
