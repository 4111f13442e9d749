"""Synthetic outputs of networks with known faults, for rows of known age: nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from cilf.age_space import AgeSpace
from cilf.models.correction_table import CorrectionTable
from cilf.models.evidence import Look

BANDS = torch.tensor([[0, 12], [13, 20], [21, 40], [41, 60], [61, 90]])
SHARES = torch.tensor([0.12, 0.10, 0.40, 0.26, 0.12])
GROUPS = torch.tensor([0.0, 3, 10, 20, 30, 40, 50, 60, 70, 101])


def rows(
    n: int,
    seed: int,
    *,
    space: AgeSpace | None = None,
    per_subject: int = 2,
    slip: float = 0.0,
    honest: bool = True,
    second: bool = False,
    degraded: float = 0.0,
    grouped: float = 0.0,
) -> CorrectionTable:
    """n rows whose error grows with age and with a nuisance of their own.

    Args:
        seed: also keeps the subjects of two tables apart.
        slip: years that a third of the rows are estimated too old; another age shows which. 0: there is none.
        honest: posteriors are the right ones for what was seen; False: their widths are wrong by a random factor.
        second: a second network, whose error is independent and as big, has looked at them too.
        degraded: share of rows whose error is three times as big without the posterior knowing it; the quality tells.
        grouped: share of rows of which the age group is all that is known.
    """
    space = space or AgeSpace()
    g = torch.Generator().manual_seed(seed)
    start_N, end_N = BANDS[torch.multinomial(SHARES, n, replacement=True, generator=g)].unbind(dim=1)
    truth_N = space.clamp((start_N + (end_N - start_N) * torch.rand(n, generator=g)).round())
    blur_N = 0.5 + 2 * torch.rand(n, generator=g)
    odd_N = (torch.rand(n, generator=g) < 1 / 3).float()
    bad_N = torch.rand(n, generator=g) < degraded
    told_N = blur_N if honest else blur_N * torch.exp(0.4 * torch.randn(n, generator=g))
    sigma_N = (1 + 0.06 * truth_N) * blur_N
    seen_N = truth_N + slip * odd_N + sigma_N * torch.where(bad_N, 3.0, 1.0) * torch.randn(n, generator=g)
    other_N = truth_N + sigma_N * torch.randn(n, generator=g)
    others_ND = (seen_N - slip * odd_N + torch.randn(n, generator=g))[:, None]
    quality_NQ = bad_N[:, None] + 0.1 * torch.randn(n, 2, generator=g)
    in_group_N = torch.rand(n, generator=g) < grouped
    group_N = torch.bucketize(truth_N, GROUPS, right=True)
    low_N = torch.where(in_group_N, GROUPS[group_N - 1], truth_N)
    high_N = torch.where(in_group_N, (GROUPS[group_N] - 1).clamp(max=space.oldest), truth_N)
    look = Look(
        _posterior(seen_N, told_N, space),
        others_ND if slip else None,
        quality_NQ if degraded else None,
        None,
        _posterior(other_N, told_N, space) if second else None,
    )
    return CorrectionTable(look, low_N, high_N, seed * 1_000_000 + torch.arange(n) // per_subject, ~bad_N)


def _posterior(seen_N: Tensor, told_N: Tensor, space: AgeSpace) -> Tensor:
    years_K = space.years(seen_N)
    sigma_NK = (1 + 0.06 * years_K) * told_N[:, None]
    within_KG = (years_K[:, None] >= BANDS[:, 0]) & (years_K[:, None] <= BANDS[:, 1])
    prior_K = (within_KG * SHARES / (BANDS[:, 1] - BANDS[:, 0] + 1)).sum(dim=1) + 1e-4
    logits_NK = -0.5 * ((years_K - seen_N[:, None]) / sigma_NK).square()
    return (logits_NK + (prior_K / sigma_NK).log()).softmax(dim=1)


def mae(age_N: Tensor, table: CorrectionTable) -> float:
    """Mean absolute error, years, of rows whose age is known."""
    return float((age_N - table.low_N).abs().mean())
