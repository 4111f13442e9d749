"""Age groups, as Adience has them: from an age or a posterior to a group, and how often it is the right one.

Between its eight groups Adience has ages of none, such as 3 or 35; here each goes to the group whose bound is nearest,
the younger one of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cilf.errors import UsageError

ADIENCE = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""First and last year of each group, both included."""

Groups = Sequence[tuple[float, float]]


def group_of(ages_N: np.ndarray, groups: Groups = ADIENCE) -> np.ndarray:
    """The group nearest to each age in years, [N] -> int64 [N]."""
    low_G, high_G = np.array(groups, np.float64).T
    away_NG = np.maximum(np.maximum(low_G - ages_N[:, None], ages_N[:, None] - high_G), 0)
    return away_NG.argmin(axis=1)


def group_probabilities(posterior_NK: np.ndarray, youngest: int, groups: Groups = ADIENCE) -> np.ndarray:
    """What a posterior over whole years says of each group.

    Args:
        posterior_NK: rows sum to 1.
        youngest: age of its first class, years.

    Returns:
        float64 [N, G], rows sum to 1.
    """
    group_K = group_of(np.arange(youngest, youngest + posterior_NK.shape[1]), groups)
    return posterior_NK.astype(np.float64) @ np.eye(len(groups))[group_K]


def group_accuracy(chosen_N: np.ndarray, true_N: np.ndarray, off: int = 0) -> float:
    """Percentage of faces whose group is at most `off` groups from the true one: 0 is accuracy, 1 is 1-off.

    Args:
        chosen_N, true_N: int, numbers of groups.
    """
    return float(100 * (np.abs(chosen_N - true_N) <= off).mean())


def over_folds(chosen_N: np.ndarray, true_N: np.ndarray, folds_N: np.ndarray, off: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over folds of their accuracy, per cent, as Adience is told of.

    Args:
        folds_N: the fold that each face was tested in.

    Raises:
        UsageError: there is one fold only, which has no deviation.
    """
    folds = np.unique(folds_N)
    if len(folds) < 2:
        raise UsageError(f"accuracy over folds needs two at least, and all rows are of {len(folds)}")
    each = [group_accuracy(chosen_N[folds_N == fold], true_N[folds_N == fold], off) for fold in folds]
    return float(np.mean(each)), float(np.std(each, ddof=1))
