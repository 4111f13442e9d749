"""CORAL: K - 1 classifiers "older than a_k?" with shared weights (Cao et al., Pattern Recognition Letters 2020).

As in the authors' package, importance weights are all 1 and biases initially descend from 1 to 0. Training then sets
them to the log-odds of the training ages (ours): an optimiser that moves a bias by a thousandth per step would take
thousands of steps from the package's initial values until the shared score separates ages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.settings import Coral
from cilf.models.system import Channels, Decoded, Features, Step, System, summed


class CoralHead(System[Tensor]):
    """CORAL's head; `out` is the logits z_k of P(y > a_k), [B, K - 1]: z_k = w·h + b_k."""

    rule = "median"  # the published count, without its rounding

    def __init__(self, channels: Channels, ages: AgeSpace, settings: Coral) -> None:
        super().__init__(ages)
        hidden = settings.hidden
        self.bend = nn.Sequential(nn.Linear(channels.pooled, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.shared = nn.Linear(hidden or channels.pooled, 1, bias=False)
        tasks = len(ages) - 1
        self.bias_K = nn.Parameter(torch.arange(tasks, 0, -1).float() / tasks)

    @torch.no_grad()
    def start_from(self, ages_N: Tensor) -> None:
        """Set bias k to the log-odds that a training age is above a_k."""
        older_K = older_than(self.ages, ages_N).sum(dim=0)
        self.bias_K.copy_(((older_K + 1) / (len(ages_N) - older_K + 1)).log())

    def forward(self, features: Features) -> Tensor:
        return self.shared(self.bend(features.pooled_BC)) + self.bias_K

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean_i Σ_k [y_k log σ(z_k) + (1 - y_k) log(1 - σ(z_k))] with y_k = 1[y > a_k]."""
        older_BK = older_than(self.ages, ages_B).to(torch.float32)
        terms_BK = F.binary_cross_entropy_with_logits(out.float(), older_BK, reduction="none")
        return summed({"coral": terms_BK.sum(dim=1).mean()})

    def decode(self, out: Tensor) -> Decoded:
        """Youngest age plus the number of k with P(y > a_k) > 0.5, and the posterior."""
        older_BK = out.float().sigmoid()
        age_B = self.ages.youngest + (older_BK > 0.5).sum(dim=1).float()
        return Decoded(age_B, posterior_of(older_BK))


def older_than(ages: AgeSpace, ages_B: Tensor) -> Tensor:
    """Mask of which of a_0 .. a_(K-2) each age is above: years [B] -> bool [B, K - 1]."""
    return ages.classes(ages_B)[:, None] > torch.arange(len(ages) - 1, device=ages_B.device)


def posterior_of(older_BK: Tensor) -> Tensor:
    """Class probabilities from the probabilities of being older than each class: [B, K - 1] -> [B, K]; rows sum to 1.

    P(y = a_k) = P(y > a_(k-1)) - P(y > a_k). CORAL's biases are in order only at the optimum; before that, a difference
    may be negative, and counts as 0 (ours).
    """
    older_BK = F.pad(F.pad(older_BK, (1, 0), value=1.0), (0, 1), value=0.0)
    mass_BK = (older_BK[:, :-1] - older_BK[:, 1:]).clamp(min=0)
    return mass_BK / mass_BK.sum(dim=1, keepdim=True)
