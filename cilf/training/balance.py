"""Weights of training rows by age, so that rare ages count more; all years of a group count equally."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def bounds(rows: pa.Table, oldest: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last possible age of each row in years, float32 [N]; both are the age itself if it is known.

    Args:
        rows: cilf.training.examine.ROW, or its columns of years.
        oldest: the last year of open groups.
    """
    last = pc.coalesce(rows["age_high"], pc.max_element_wise(rows["age_low"], pa.scalar(oldest, pa.float32())))
    is_group = pc.is_valid(rows["age_low"])
    low, high = (pc.if_else(is_group, end, rows["age"]) for end in (rows["age_low"], last))
    return low.to_numpy().astype(np.float32), high.to_numpy().astype(np.float32)


def age_weights(low_N: np.ndarray, high_N: np.ndarray, times_N: np.ndarray, balance: float, oldest: int) -> np.ndarray:
    """Weight by whole years, float32 [oldest + 1]: 1 / frequency^balance, of mean 1 over the rows, within 0.5-2.5.

    Frequencies are smoothed by a Gaussian of 2 years: neighbouring ages look alike, so they help each other
    (label distribution smoothing, Yang et al. 2021, arXiv 2102.09554).

    Args:
        low_N, high_N: as from `bounds`.
        times_N: number of times that each row is shown in an epoch.
        balance: 0 weights all rows equally, 1 all ages equally.
        oldest: the oldest age, years.
    """
    counts_K = _counts(low_N, high_N, times_N, oldest)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    smooth_K = np.convolve(np.pad(counts_K, 8, mode="reflect"), kernel / kernel.sum(), mode="valid")
    weights_K = np.maximum(smooth_K, 0.5) ** -balance
    weights_K = np.clip(weights_K / np.average(weights_K, weights=counts_K), 0.5, 2.5)
    return (weights_K / np.average(weights_K, weights=counts_K)).astype(np.float32)


def mean_of_years(values_K: np.ndarray, low_N: np.ndarray, high_N: np.ndarray) -> np.ndarray:
    """Mean of the values by whole years, float32 [K], over the years of each row, float32 [N]."""
    first_N, last_N = low_N.round().astype(int), high_N.round().astype(int)
    sums_K = np.concatenate([[0.0], values_K.cumsum(dtype=np.float64)])
    return ((sums_K[last_N + 1] - sums_K[first_N]) / (last_N + 1 - first_N)).astype(np.float32)


def _counts(low_N: np.ndarray, high_N: np.ndarray, times_N: np.ndarray, oldest: int) -> np.ndarray:
    """Number of rows by whole years, float64 [oldest + 1]; a row with a group is spread evenly over its years."""
    first_N, last_N = low_N.round().astype(int), high_N.round().astype(int)
    each_N = times_N / (last_N + 1 - first_N)
    steps_K = np.bincount(first_N, each_N, oldest + 2) - np.bincount(last_N + 1, each_N, oldest + 2)
    return np.maximum(steps_K.cumsum()[:-1], 0.0)
