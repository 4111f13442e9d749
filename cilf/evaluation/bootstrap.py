"""Percentile bootstrap intervals, resampled over subjects where subjects are known and over rows otherwise.

Sources: the bootstrap (Efron 1979); the resampling unit is a whole subject, because errors of one subject's rows are
correlated (cluster bootstrap, Field & Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0

_CHUNK = 2_000_000
"""Weights in memory at a time, 8 bytes each."""


@dataclass(frozen=True)
class Resampled:
    """Figures of G groups of rows in each of R resamples; NaN if a resample has no row of a group."""

    means_RGK: np.ndarray
    """Means of the K columns, float64."""
    medians_RG: np.ndarray
    """Medians of the first column, float64."""


def resample(
    values_NK: np.ndarray,
    groups: Sequence[np.ndarray],
    units_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Resampled:
    """Draw resamples with replacement, each of as many units as the data has.

    Args:
        values_NK: float, the columns to average.
        groups: rows of each group, int; a row may be in several groups.
        units_N: int64 [N], the unit of each row, 0..U-1: its subject, or the row itself.
    """
    # Sorted by the first column, so that a median is found by its position in the running sum of weights.
    order_N = np.argsort(values_NK[:, 0], kind="stable")
    place_N = np.empty_like(order_N)
    place_N[order_N] = np.arange(len(order_N))
    values_NK, units_N = values_NK[order_N].astype(np.float64), units_N[order_N]
    rows = [np.sort(place_N[group]) for group in groups]
    values = [values_NK[group] for group in rows]

    means_RGK = np.empty((resamples, len(groups), values_NK.shape[1]))
    medians_RG = np.empty((resamples, len(groups)))
    start = 0
    # Threads do not speed up such small products, and slow them down a lot while other processes use the cores.
    with threadpool_limits(1, user_api="blas"), np.errstate(invalid="ignore"):
        for weights_CN in _weights(units_N, resamples, seed):
            chunk = slice(start, start + len(weights_CN))
            for index, (group, values_MK) in enumerate(zip(rows, values, strict=True)):
                weights_CM = weights_CN[:, group]
                sums_CM = weights_CM.cumsum(axis=1)
                means_RGK[chunk, index] = weights_CM @ values_MK / sums_CM[:, -1:]
                medians_RG[chunk, index] = _medians(sums_CM, values_MK[:, 0])
            start = chunk.stop
    return Resampled(means_RGK, medians_RG)


def _weights(units_N: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Number of times that each row is in each resample: float64 [C, N], C resamples at a time."""
    units = int(units_N.max()) + 1
    random = np.random.default_rng(seed)
    most = max(1, _CHUNK // len(units_N))
    for start in range(0, resamples, most):
        count = min(most, resamples - start)
        draws_CU = random.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        times_CU = np.bincount(draws_CU.ravel(), minlength=count * units).reshape(count, units)
        yield times_CU.astype(np.float64)[:, units_N]


def _medians(sums_CM: np.ndarray, values_M: np.ndarray) -> np.ndarray:
    """Weighted medians of ascending values; `sums_CM` are the running sums of the weights."""
    medians_C = np.full(len(sums_CM), np.nan)
    for row, sums_M in enumerate(sums_CM):
        total = sums_M[-1]
        if total:
            # For an even number of values, the median is the mean of the two in the middle.
            middle = np.searchsorted(sums_M, [(total - 1) // 2, total // 2], side="right")
            medians_C[row] = (values_M[middle[0]] + values_M[middle[1]]) / 2
    return medians_C


def interval(figures_R: np.ndarray) -> tuple[float, float] | None:
    """Ends of the middle 95 % of a figure's resamples.

    Returns None if any resample has no row for the figure: it then depends on so few subjects, about seven, that a
    bootstrap interval is meaningless.
    """
    if np.isnan(figures_R).any():
        return None
    low, high = np.quantile(figures_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
