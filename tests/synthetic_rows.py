"""Labelled rows as a model of known faults would predict them: nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from cilf.ages import AgeSpace
from cilf.models.corrector_fit import CorrectionTable
from cilf.models.evidence import Predictions

BANDS = torch.tensor([[0, 12], [13, 20], [21, 40], [41, 60], [61, 90]])
SHARES = torch.tensor([0.12, 0.10, 0.40, 0.26, 0.12])


def rows(
    n: int,
    seed: int,
    *,
    space: AgeSpace | None = None,
    views: int = 4,
    per_subject: int = 2,
    shared: float = 0.6,
    slip: float = 0.0,
    honest: bool = True,
) -> CorrectionTable:
    """n rows whose error grows with age and with a nuisance of their own.

    Args:
        seed: also keeps the subjects of two tables apart.
        shared: correlation of the error over the views of a row, before squaring.
        slip: years that a third of the rows are estimated too old; a frozen embedding shows which. 0: there is
            no embedding.
        honest: posteriors are the right ones for what was seen; False: their widths are wrong by a random factor.
    """
    space = space or AgeSpace()
    g = torch.Generator().manual_seed(seed)
    start_N, end_N = BANDS[torch.multinomial(SHARES, n, replacement=True, generator=g)].unbind(dim=1)
    truth_N = space.clamp((start_N + (end_N - start_N) * torch.rand(n, generator=g)).round())
    years_K, blur_N = space.years(truth_N), 0.5 + 2 * torch.rand(n, generator=g)
    sigma_N = (1 + 0.06 * truth_N) * blur_N
    odd_N = (torch.rand(n, generator=g) < 1 / 3).float()
    noise_N, noise_NV = torch.randn(n, generator=g), torch.randn(n, views, generator=g)
    seen_NV = truth_N[:, None] + slip * odd_N[:, None]
    seen_NV = seen_NV + sigma_N[:, None] * (shared * noise_N[:, None] + (1 - shared**2) ** 0.5 * noise_NV)
    told_N = blur_N if honest else blur_N * torch.exp(0.4 * torch.randn(n, generator=g))
    sigma_NK = (1 + 0.06 * years_K) * told_N[:, None]
    within_KG = (years_K[:, None] >= BANDS[:, 0]) & (years_K[:, None] <= BANDS[:, 1])
    prior_K = (within_KG * SHARES / (BANDS[:, 1] - BANDS[:, 0] + 1)).sum(dim=1) + 1e-4
    logits_NVK = -0.5 * ((years_K - seen_NV[..., None]) / sigma_NK[:, None]).square()
    logits_NVK = logits_NVK + (prior_K / sigma_NK).log()[:, None]
    frozen_NC = torch.cat([odd_N[:, None], torch.zeros(n, 7)], dim=1) + 0.2 * torch.randn(n, 8, generator=g)
    return CorrectionTable(
        Predictions(logits_NVK.softmax(dim=2), frozen_BC=frozen_NC if slip else None),
        truth_N,
        seed * 1_000_000 + torch.arange(n) // per_subject,
    )


def mae(age_N: Tensor, table: CorrectionTable) -> float:
    """Mean absolute error, years."""
    return float((age_N - table.ages_N).abs().mean())
