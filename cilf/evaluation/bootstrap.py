"""How far figures could be off by chance: percentile bootstrap intervals, over subjects where they are known.

Sources: the bootstrap (Efron 1979); whole clusters are drawn, as rows of one subject err together (Field & Welsh
2007).
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
"""Weights held at once, 8 bytes each."""


@dataclass(frozen=True)
class Resampled:
    """Figures of G groups of rows in each of R resamples; NaN where a resample has no row of a group."""

    means_RGK: np.ndarray
    """float64: means of K columns."""
    medians_RG: np.ndarray
    """float64: medians of the first column."""


def resample(
    values_NK: np.ndarray,
    groups: Sequence[np.ndarray],
    units_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Resampled:
    """Draw as many units as there are, with replacement, again and again.

    Args:
        values_NK: float, what to average.
        groups: rows of each group, int; a row may be in several groups.
        units_N: int64 [N], the unit of each row, 0..U-1: its subject, or the row itself.
    """
    # Sorted by the first column, so that a median is a place in a running sum of weights.
    order_N = np.argsort(values_NK[:, 0], kind="stable")
    place_N = np.empty_like(order_N)
    place_N[order_N] = np.arange(len(order_N))
    values_NK, units_N = values_NK[order_N].astype(np.float64), units_N[order_N]
    rows = [np.sort(place_N[group]) for group in groups]
    values = [values_NK[group] for group in rows]

    means_RGK = np.empty((resamples, len(groups), values_NK.shape[1]))
    medians_RG = np.empty((resamples, len(groups)))
    start = 0
    # Products this small gain nothing from threads, and lose much where other processes use the cores.
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
    """How often each row is in each resample: float64 [C, N], C of the resamples at a time."""
    units = int(units_N.max()) + 1
    random = np.random.default_rng(seed)
    most = max(1, _CHUNK // len(units_N))
    for start in range(0, resamples, most):
        count = min(most, resamples - start)
        draws_CU = random.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        times_CU = np.bincount(draws_CU.ravel(), minlength=count * units).reshape(count, units)
        yield times_CU.astype(np.float64)[:, units_N]


def _medians(sums_CM: np.ndarray, values_M: np.ndarray) -> np.ndarray:
    """Medians of ascending values under weights whose running sums are `sums_CM`."""
    medians_C = np.full(len(sums_CM), np.nan)
    for row, sums_M in enumerate(sums_CM):
        total = sums_M[-1]
        if total:
            # Of an even number of values the two in the middle count.
            middle = np.searchsorted(sums_M, [(total - 1) // 2, total // 2], side="right")
            medians_C[row] = (values_M[middle[0]] + values_M[middle[1]]) / 2
    return medians_C


def interval(figures_R: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of a figure's resamples.

    None where some resample has no row for it: the figure then rests on so few subjects, about seven, that the
    bootstrap says nothing.
    """
    if np.isnan(figures_R).any():
        return None
    low, high = np.quantile(figures_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
