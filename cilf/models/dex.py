"""Deep expectation: ages are classes, the posterior's mean Σ a_k p_k is the estimate (Rothe et al., IJCV 2018).

Label distributions and the mean-variance loss (Pan et al., CVPR 2018) are common additions.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.settings import Dex
from cilf.models.system import Channels, Decoded, Features, Step, System, expectation, summed

MEAN_WEIGHT = 0.2
VARIANCE_WEIGHT = 0.05


class DexHead(System[Tensor]):
    """DEX's head; `out` is class logits, [B, K]."""

    def __init__(self, channels: Channels, ages: AgeSpace, settings: Dex) -> None:
        super().__init__(ages)
        self.settings = settings
        self.linear = nn.Linear(channels.pooled, len(ages))

    def forward(self, features: Features) -> Tensor:
        return self.linear(features.pooled_BC)

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy; with `mean_variance` also 0.2 · ½(m - y)² + 0.05 · v of the posterior's mean and variance."""
        logits_BK, sigma = out.float(), self.settings.label_sigma
        target = self.ages.classes(ages_B) if sigma is None else self.ages.soft_labels(ages_B, sigma)
        parts = {"cross_entropy": F.cross_entropy(logits_BK, target)}
        if self.settings.mean_variance:
            mean_B, posterior_BK = expectation(self.ages, logits_BK)
            assert posterior_BK is not None
            off_BK = self.ages.years(posterior_BK) - mean_B[:, None]
            parts["mean"] = MEAN_WEIGHT * 0.5 * (mean_B - self.ages.clamp(ages_B)).square().mean()
            parts["variance"] = VARIANCE_WEIGHT * (posterior_BK * off_BK.square()).sum(dim=1).mean()
        return summed(parts)

    def decode(self, out: Tensor) -> Decoded:
        return expectation(self.ages, out)
