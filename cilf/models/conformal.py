"""Guarantees for rows of unseen subjects: conformal intervals and one-sided bounds, clustered by subject.

Sources: split conformal prediction (Vovk et al. 2005; Lei et al. 2018), its label-conditional form (Vovk
2012), conformalised quantile regression (Romano et al. 2019), rows weighted by 1 / rows of their subject
(hierarchical conformal prediction, Lee, Barber & Willett 2023), Learn-then-Test (Angelopoulos et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import torch
from torch import Tensor

MIN_SUBJECTS = 30
"""Least number of subjects for which a normal approximation counts as evidence; our own choice."""


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over rows, with a standard error that is clustered by subject."""

    mean: float
    standard_error: float
    subjects: int

    def upper(self, level: float) -> float:
        """One-sided upper bound at confidence `level`; infinite with fewer than MIN_SUBJECTS subjects."""
        if self.subjects < MIN_SUBJECTS:
            return float("inf")
        return self.mean + NormalDist().inv_cdf(level) * self.standard_error

    def lower(self, level: float) -> float:
        """One-sided lower bound at confidence `level`; minus infinity with fewer than MIN_SUBJECTS subjects."""
        if self.subjects < MIN_SUBJECTS:
            return -float("inf")
        return self.mean - NormalDist().inv_cdf(level) * self.standard_error


def clustered_mean(values_N: Tensor, subject_N: Tensor) -> ClusteredMean:
    """Mean of `values_N` [N] over rows, with the linearised standard error of a ratio of subject totals.

    Errors of one subject's rows are correlated, so N rows hold less information than N subjects would.
    """
    n = len(values_N)
    if n == 0:
        return ClusteredMean(float("nan"), float("inf"), 0)
    values_N = values_N.double()
    mean = values_N.mean()
    _, of_row_N = subject_N.unique(return_inverse=True)
    subjects = int(of_row_N.max()) + 1
    if subjects == 1:
        return ClusteredMean(float(mean), float("inf"), 1)
    excess_S = values_N.new_zeros(subjects).index_add(0, of_row_N, values_N - mean)
    variance = excess_S.square().sum() * subjects / (subjects - 1) / n**2
    return ClusteredMean(float(mean), float(variance.sqrt()), subjects)


def check_alpha(alpha: float, subjects: int) -> None:
    """Check that a number of calibration subjects can support an error rate.

    Raises:
        ValueError: α < 1 / (n + 1) for n subjects, for which only an infinite interval is valid, or α >= 1.
    """
    if not 1 / (subjects + 1) <= alpha < 1:
        raise ValueError(
            f"an error rate of {alpha} cannot be guaranteed with {subjects} calibration subjects: it must be "
            f"between 1 / ({subjects} + 1) = {1 / (subjects + 1):.4g} and 1; add subjects or raise alpha"
        )


def conformal_quantile(scores_N: Tensor, subject_N: Tensor, alpha: float) -> float:
    """The score that a new subject's row exceeds with probability at most `alpha`.

    A row's weight is 1 / rows of its subject; with one row each this is the ⌈(n + 1)(1 - α)⌉-th smallest score.

    Raises:
        ValueError: too few subjects for `alpha`.
    """
    _, of_row_N, counts_S = subject_N.unique(return_inverse=True, return_counts=True)
    n = len(counts_S)
    check_alpha(alpha, n)
    scores_N, order_N = scores_N.double().sort()
    mass_N = (1 / counts_S.double())[of_row_N][order_N].cumsum(dim=0)
    # Rounding keeps sums of 1 / n from reaching whole numbers exactly.
    index = int((mass_N < (n + 1) * (1 - alpha) - 1e-9).sum())
    return float(scores_N[min(index, len(scores_N) - 1)])


def bands_of(ages_B: Tensor, edges: tuple[float, ...]) -> Tensor:
    """Index of the band between `edges` (years, ascending) that each age falls in, [B] -> int64 [B]."""
    return torch.bucketize(ages_B, torch.tensor(edges, device=ages_B.device, dtype=ages_B.dtype))


def band_quantiles(
    scores_N: Tensor, truth_N: Tensor, subject_N: Tensor, alpha: float, edges: tuple[float, ...], least: int
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """A conformal quantile per band of true ages, and each band's number of subjects.

    A band with fewer than `least` subjects takes the quantile of all rows. A level per band of *true* age
    guarantees the coverage within each band; a level per band of predicted age does not.
    """
    everywhere = conformal_quantile(scores_N, subject_N, alpha)
    band_N = bands_of(truth_N, edges)
    quantiles, subjects = [], []
    for band in range(len(edges) + 1):
        rows = band_N == band
        subjects.append(len(subject_N[rows].unique()))
        enough = subjects[-1] >= least
        quantiles.append(conformal_quantile(scores_N[rows], subject_N[rows], alpha) if enough else everywhere)
    return tuple(quantiles), tuple(subjects)


def widen(
    low_B: Tensor,
    high_B: Tensor,
    scale_B: Tensor,
    quantiles: tuple[float, ...],
    edges: tuple[float, ...],
    limits: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """The smallest interval that contains every age y whose score stays below the quantile of y's own band.

    The score is max(low - y, y - high) / scale. Each band contributes [low - q scale, high + q scale] cut to
    the band; taking the hull of the parts can only increase coverage. If no part is left, both ends are the age in
    range that is nearest to the middle.

    Args:
        low_B, high_B, scale_B: [B] years.
        quantiles: one per band, from `band_quantiles`.
        edges: as in `band_quantiles`.
        limits: youngest and oldest age, years.
    """
    bounds = (limits[0], *(min(max(e, limits[0]), limits[1]) for e in edges), limits[1])
    lows, highs = [], []
    for quantile, (start, end) in zip(quantiles, pairwise(bounds), strict=True):
        low, high = (low_B - quantile * scale_B).clamp(min=start), (high_B + quantile * scale_B).clamp(max=end)
        empty_B = low > high
        lows.append(low.masked_fill(empty_B, float("inf")))
        highs.append(high.masked_fill(empty_B, -float("inf")))
    low_B_, high_B_ = torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0)
    middle_B = ((low_B + high_B) / 2).clamp(*limits)
    nowhere_B = low_B_ > high_B_
    return torch.where(nowhere_B, middle_B, low_B_), torch.where(nowhere_B, middle_B, high_B_)
