"""Quality of a model's expected errors: the risk-coverage curve, and calibration of the expected error.

Sources: selective prediction and its risk-coverage curve (El-Yaniv & Wiener 2010), the area under it (AURC;
Geifman, Uziel & El-Yaniv 2019), expected calibration error over bins (Naeini et al. 2015), here in years.
"""

from __future__ import annotations

import numpy as np

BINS = 10
"""Number of bins, of equal numbers of rows, for the reliability of the expected error."""


def risk_coverage(errors_N: np.ndarray, expected_N: np.ndarray) -> np.ndarray:
    """MAE of the k rows with the smallest expected error, for k = 1..N: float64 [N], years.

    For rows with the same expected error, the curve is the mean over all their orders. Isotonic calibration produces
    many such ties.

    Args:
        errors_N: absolute errors, years.
        expected_N: errors that the model expected, or any other score that ranks the rows.
    """
    _, place_N, counts = np.unique(expected_N, return_inverse=True, return_counts=True)
    means = np.bincount(place_N, errors_N.astype(np.float64)) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(errors_N) + 1)


def aurc(errors_N: np.ndarray, expected_N: np.ndarray) -> float:
    """Area under the risk-coverage curve, years: the mean of `risk_coverage`.

    An uninformative score gives the MAE; a perfect one gives aurc(errors_N, errors_N).
    """
    return float(risk_coverage(errors_N, expected_N).mean())


def equal_bins(expected_N: np.ndarray, bins: int = BINS) -> list[np.ndarray]:
    """Row numbers, int, of bins by expected error, smallest first; the bins' sizes differ by at most one."""
    return np.array_split(np.argsort(expected_N, kind="stable"), min(bins, len(expected_N)))


def calibration_error(errors_N: np.ndarray, expected_N: np.ndarray) -> float:
    """Expected calibration error, years: mean over rows of |mean expected - mean absolute error| of their bin.

    It is positive even for a perfect judge: the mean error of a bin of n rows has the standard error
    (standard deviation / √n).
    """
    bins = equal_bins(expected_N)
    gaps = [abs(float(expected_N[rows].mean()) - float(errors_N[rows].mean())) for rows in bins]
    return float(np.average(gaps, weights=[len(rows) for rows in bins]))
