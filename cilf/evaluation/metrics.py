"""Error measures of age estimates, in years, or of rank estimates; no result is rounded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cilf.errors import UsageError

BANDS = {"0-12": (0, 13), "13-20": (13, 21), "21-40": (21, 41), "41-60": (41, 61), "61+": (61, 200)}
"""Bands of true ages: lowest year, and the first year above the band."""


def mae(estimates_N: np.ndarray, ages_N: np.ndarray) -> float:
    """Mean absolute error, years."""
    return float(np.abs(estimates_N - ages_N).mean())


def cumulative_score(estimates_N: np.ndarray, ages_N: np.ndarray, within: float = 5) -> float:
    """CS(θ): percentage of estimates whose error is at most `within` years, the bound included."""
    return float(100 * within_years(estimates_N - ages_N, within).mean())


def nearest_ranks(estimates_N: np.ndarray, ranks_N: np.ndarray) -> np.ndarray:
    """Bool [N]: True for estimates [N] whose nearest rank is the true one; halfway between two ranks, the even rank is
    the nearest."""
    return np.rint(estimates_N) == ranks_N


def within_years(errors_N: np.ndarray, within: float = 5) -> np.ndarray:
    """Bool [N]: True for errors [N], years, of at most `within`, with a tolerance for rounding."""
    return np.abs(errors_N) <= within + 1e-6


def summarise(
    estimates_N: np.ndarray, ages_N: np.ndarray, bands: Mapping[str, tuple[float, float]] = BANDS
) -> dict[str, float]:
    """MAE, CS(5), bias (estimate minus truth), and MAE of each band of true ages that has rows."""
    result = {
        "rows": len(ages_N),
        "mae": mae(estimates_N, ages_N),
        "cs5": cumulative_score(estimates_N, ages_N),
        "bias": float((estimates_N - ages_N).mean()),
    }
    for name, (low, high) in bands.items():
        inside = (ages_N >= low) & (ages_N < high)
        if inside.any():
            result[f"mae {name}"] = mae(estimates_N[inside], ages_N[inside])
    return result


def epsilon_errors(estimates_N: np.ndarray, means_N: np.ndarray, stds_N: np.ndarray) -> np.ndarray:
    """1 - exp(-(x - μ)² / 2σ²) of each face, float64 [N]; its mean is the ε-error of apparent ages (ChaLearn LAP
    2015): 0 is best and 1 is worst.

    Args:
        estimates_N: x, years.
        means_N: μ of each face's annotators, years.
        stds_N: σ of each face's annotators, years; a smaller one counts as 1e-4.

    Raises:
        UsageError: a σ is negative or missing, or there are no faces.
    """
    wrong = ~(stds_N >= 0)
    if len(stds_N) == 0 or wrong.any():
        found = f"{wrong.sum()} of {len(stds_N)}" if len(stds_N) else "no faces"
        raise UsageError(
            f"the ε-error needs the annotators' standard deviation for every face, 0 or more; invalid: {found}"
        )
    offs_N = (estimates_N.astype(np.float64) - means_N) / np.maximum(stds_N, 1e-4)
    return 1 - np.exp(-0.5 * offs_N**2)
