"""How well a model knows its own errors: risk against coverage, and the reliability of the expected error.

Sources: selective prediction and its risk-coverage curve (El-Yaniv & Wiener 2010), the area under it (AURC;
Geifman, Uziel & El-Yaniv 2019), expected calibration error over bins (Naeini et al. 2015), here in years.
"""

from __future__ import annotations

import numpy as np

BINS = 10
"""Of equal numbers of rows, for reliability."""


def risk_coverage(errors_N: np.ndarray, expected_N: np.ndarray) -> np.ndarray:
    """MAE of the k rows with the smallest expected error, for k = 1..N: float64 [N], years.

    Rows with the same expected error are as one: the curve is the mean over all their orders. An isotonic
    calibration makes many of them.

    Args:
        errors_N: absolute errors, years.
        expected_N: what the model expected them to be, or whatever else rows are chosen by.
    """
    _, place_N, counts = np.unique(expected_N, return_inverse=True, return_counts=True)
    means = np.bincount(place_N, errors_N.astype(np.float64)) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(errors_N) + 1)


def aurc(errors_N: np.ndarray, expected_N: np.ndarray) -> float:
    """Area under the risk-coverage curve, years: the mean of `risk_coverage`.

    A judgement that knows nothing has the MAE, one that knows every error has aurc(errors_N, errors_N).
    """
    return float(risk_coverage(errors_N, expected_N).mean())


def equal_bins(expected_N: np.ndarray, bins: int = BINS) -> list[np.ndarray]:
    """Rows, int, of bins by expected error, smallest first, whose numbers of rows differ by one at most."""
    return np.array_split(np.argsort(expected_N, kind="stable"), min(bins, len(expected_N)))


def calibration_error(errors_N: np.ndarray, expected_N: np.ndarray) -> float:
    """Expected calibration error, years: mean over rows of |mean expected - mean absolute error| of their bin.

    Chance alone makes it positive: a bin's mean error of n rows strays by its standard deviation / √n.
    """
    bins = equal_bins(expected_N)
    gaps = [abs(float(expected_N[rows].mean()) - float(errors_N[rows].mean())) for rows in bins]
    return float(np.average(gaps, weights=[len(rows) for rows in bins]))
