"""Measures of age estimates. All ages in years, never rounded."""

from __future__ import annotations

import numpy as np

BANDS = {"0-12": (0, 13), "13-20": (13, 21), "21-40": (21, 41), "41-60": (41, 61), "61+": (61, 200)}
"""Age bands by true age: lowest year, and the first year no longer in."""


def mae(estimates_N: np.ndarray, ages_N: np.ndarray) -> float:
    """Mean absolute error, years."""
    return float(np.abs(estimates_N - ages_N).mean())


def cumulative_score(estimates_N: np.ndarray, ages_N: np.ndarray, within: float = 5) -> float:
    """CS(θ): percentage of estimates at most `within` years off, the bound included."""
    return float(100 * within_years(estimates_N - ages_N, within).mean())


def within_years(errors_N: np.ndarray, within: float = 5) -> np.ndarray:
    """Which errors [N], years, are at most `within`, but for rounding: bool [N]."""
    return np.abs(errors_N) <= within + 1e-6


def summarise(estimates_N: np.ndarray, ages_N: np.ndarray) -> dict[str, float]:
    """MAE, CS(5), bias (estimate minus truth), and MAE of each age band that has rows."""
    result = {
        "rows": len(ages_N),
        "mae": mae(estimates_N, ages_N),
        "cs5": cumulative_score(estimates_N, ages_N),
        "bias": float((estimates_N - ages_N).mean()),
    }
    for name, (low, high) in BANDS.items():
        inside = (ages_N >= low) & (ages_N < high)
        if inside.any():
            result[f"mae {name}"] = mae(estimates_N[inside], ages_N[inside])
    return result
