"""CORN: K - 1 conditional classifiers "older than a_k, given older than a_(k-1)?" (Shi et al., arXiv 2111.08851)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.coral import older_than
from cilf.models.settings import Corn
from cilf.models.system import Channels, Decoded, Features, Step, System, summed


class CornHead(System[Tensor]):
    """CORN's head; `out` is the logits z_k of P(y > a_k | y > a_(k-1)), [B, K - 1]."""

    rule = "median"  # the published count, without its rounding

    def __init__(self, channels: Channels, ages: AgeSpace, settings: Corn) -> None:
        super().__init__(ages)
        self.linear = nn.Linear(channels.pooled, len(ages) - 1)

    def forward(self, features: Features) -> Tensor:
        return self.linear(features.pooled_BC)

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean binary cross-entropy over all pairs of a classifier and a row that meets its condition."""
        older_BK = older_than(self.ages, ages_B)
        asked_BK = F.pad(older_BK[:, :-1], (1, 0), value=True)
        terms_BK = F.binary_cross_entropy_with_logits(out.float(), older_BK.to(torch.float32), reduction="none")
        return summed({"corn": terms_BK[asked_BK].mean()})

    def decode(self, out: Tensor) -> Decoded:
        """Youngest age plus the number of k with P(y > a_k) > 0.5, and the posterior.

        P(y > a_k) = Π_(j<=k) σ(z_j) never rises with k, so P(y = a_k) = P(y > a_(k-1)) σ(-z_k) is already a posterior.
        Computed in logarithms, because a product of a hundred factors loses nearly all precision in float32.
        """
        log_older_BK = F.logsigmoid(out.float()).cumsum(dim=1)
        age_B = self.ages.youngest + (log_older_BK > math.log(0.5)).sum(dim=1).float()
        log_posterior_BK = F.pad(log_older_BK, (1, 0)) + F.pad(F.logsigmoid(-out.float()), (0, 1))
        return Decoded(age_B, log_posterior_BK.softmax(dim=1))
