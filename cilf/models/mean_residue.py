"""Adaptive mean-residue loss (Zhao et al., "Adaptive Mean-Residue Loss for Robust Facial Age Estimation", ICME 2022).

The mean loss pulls the expected age to the truth; the residue loss takes probability from the classes that are less
likely than the true one, whose number differs from face to face.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.settings import MeanResidue
from cilf.models.system import Channels, Decoded, Features, Step, System, expectation, summed

FLOOR = 1e-3  # ε, added to every probability of the residue


class MeanResidueHead(System[Tensor]):
    """The head; `out` is class logits, [B, K]. The estimate is the posterior's mean, which the authors round."""

    def __init__(self, channels: Channels, ages: AgeSpace, settings: MeanResidue) -> None:
        super().__init__(ages)
        self.settings = settings
        self.linear = nn.Linear(channels.pooled, len(ages))

    def forward(self, features: Features) -> Tensor:
        return self.linear(features.pooled_BC)

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """CE + λ1 · ½ mean (m - y)² + λ2 · mean_i Σ_k -(p̃_k + ε) log(p̃_k + ε), where p̃_k = p_k · 1[p_k < p_y].

        Ours: a class as likely as the true one does not count as residue, and y is rounded only to select its class.
        """
        logits_BK, classes_B = out.float(), self.ages.classes(ages_B)
        mean_B, posterior_BK = expectation(self.ages, logits_BK)
        assert posterior_BK is not None
        own_B1 = posterior_BK.gather(1, classes_B[:, None])
        residue_BK = posterior_BK * (posterior_BK < own_B1) + FLOOR
        entropy_B = -(residue_BK * residue_BK.log()).sum(dim=1)
        error_B = mean_B - self.ages.clamp(ages_B)
        return summed(
            {
                "cross_entropy": F.cross_entropy(logits_BK, classes_B),
                "mean": self.settings.mean_weight * 0.5 * error_B.square().mean(),
                "residue": self.settings.residue_weight * entropy_B.mean(),
            }
        )

    def decode(self, out: Tensor) -> Decoded:
        return expectation(self.ages, out)
