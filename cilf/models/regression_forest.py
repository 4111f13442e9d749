"""Deep Regression Forests (Shen et al., CVPR 2018, arXiv 1712.07195): soft trees whose leaves are Gaussians of age.

Split n of tree t goes left with probability σ(f_φt(n)(x)), where φt assigns one of the last layer's units to each
split; a leaf is reached with the product of the probabilities on its path:

    p_t(y | x) = Σ_ℓ P_t(ℓ | x) N(y; μ_ℓ, σ²_ℓ)

The network learns by gradient, the leaves by EM with the routing as prior. The paper's loss is -log p_t; the authors'
code has ½ (y - Σ P μ)² instead, which is the default here. Not specified in the paper, so our choices: routing in
logarithms; leaves that start at the quantiles of the training ages, in a different order in each tree; a variance of at
least one year squared; no update for a leaf that hardly any row reaches; leaf updates after each epoch. Ages are scaled
to 0..1 over the range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.settings import RegressionForest
from cilf.models.system import Channels, Decoded, Features, Step, System, summed

START_VARIANCE = 0.02
FEWEST = 1e-3  # a leaf with less than this fraction of rows / leaves is not updated


class RegressionForestHead(System[Tensor]):
    """T trees on one layer of units; `out` is the log-probability of each leaf, float32 [B, T, L].

    Leaves are buffers, not parameters.
    """

    rows_after_epoch = 5000

    def __init__(self, channels: Channels, ages: AgeSpace, settings: RegressionForest) -> None:
        super().__init__(ages)
        self.settings = settings
        self.linear = nn.Linear(channels.pooled, settings.units)
        self.span = ages.oldest - ages.youngest
        self.floor = 1 / self.span**2  # one class, squared
        random = torch.Generator().manual_seed(settings.seed)
        trees, leaves = settings.trees, settings.leaves
        splits = [torch.randperm(settings.units, generator=random)[: leaves - 1] for _ in range(trees)]
        self.register_buffer("unit_TS", torch.stack(splits))
        self.register_buffer("mean_TL", torch.zeros(trees, leaves))
        self.register_buffer("variance_TL", torch.zeros(trees, leaves))
        self.start_from(ages.years(torch.empty(0)))

    @torch.no_grad()
    def start_from(self, ages_N: Tensor) -> None:
        """Initialise the leaves at evenly spaced quantiles of the training ages."""
        leaves = self.settings.leaves
        random = torch.Generator().manual_seed(self.settings.seed)
        quantile_L = torch.quantile(self._scaled(ages_N.float()).cpu(), (torch.arange(leaves) + 0.5) / leaves)
        orders = [torch.randperm(leaves, generator=random) for _ in range(self.settings.trees)]
        mean_TL, variance_TL = self._leaves
        mean_TL.copy_(quantile_L[torch.stack(orders)])
        variance_TL.fill_(max(START_VARIANCE, self.floor))

    def forward(self, features: Features) -> Tensor:
        """Splits are numbered level by level, leaves from left to right."""
        split_BTS = self.linear(features.pooled_BC).float()[:, cast(Tensor, self.unit_TS)]
        log_BTL = split_BTS.new_zeros(*split_BTS.shape[:2], 1)
        for level in range(self.settings.depth - 1):
            f_BTN = split_BTS[:, :, 2**level - 1 : 2 ** (level + 1) - 1]
            turns = torch.stack([F.logsigmoid(f_BTN), F.logsigmoid(-f_BTN)], dim=3)
            log_BTL = (log_BTL[..., None] + turns).flatten(2)
        return log_BTL

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over rows and trees of ½ (y - Σ P μ)² or of -log p_t(y)."""
        y_B = self._scaled(ages_B)
        if self.settings.loss == "l2":
            return summed({"l2": 0.5 * (y_B[:, None] - self._estimates(out)).square().mean()})
        joint_BTL = out + _log_normal(y_B[:, None, None], *self._leaves)
        return summed({"likelihood": -joint_BTL.logsumexp(dim=2).mean()})

    def decode(self, out: Tensor) -> Decoded:
        """Mean over trees of Σ P μ; the posterior is the forest's density at each class, normalised to sum to 1."""
        age_B = self.ages.youngest + self.span * self._estimates(out).mean(dim=1)
        class_K = self._scaled(self.ages.years(age_B))
        density_KTL = _log_normal(class_K[:, None, None], *self._leaves)
        # Computed with probabilities, because B x K x T x L logarithms would take hundreds of megabytes. The density of
        # a class that is far from every leaf underflows to 0 in float32.
        mass_BK = torch.einsum("btl,ktl->bk", out.exp(), density_KTL.exp())
        return Decoded(self.ages.clamp(age_B), mass_BK / mass_BK.sum(dim=1, keepdim=True))

    @torch.no_grad()
    def after_epoch(self, rows: Iterable[tuple[Features, Tensor]]) -> None:
        """Update the leaves by EM on `rows`; in a process group, on the rows of all workers together."""
        routed, ages = [], []
        was_training = self.training
        self.eval()
        for features, ages_B in rows:
            routed.append(self(features).double())
            ages.append(self._scaled(ages_B.double()))
        self.train(was_training)
        mean_TL, variance_TL = self._leaves
        if not routed:  # a worker without rows must still take part in the all-reduce
            routed = [mean_TL.new_zeros((0, *mean_TL.shape), dtype=torch.float64)]
            ages = [mean_TL.new_zeros(0, dtype=torch.float64)]
        log_routing_NTL, y_N = torch.cat(routed), torch.cat(ages)
        # Float32 may have rounded the minimum variance down.
        mean, variance = mean_TL.double(), variance_TL.double().clamp(min=self.floor)
        for _ in range(self.settings.steps):
            mean, variance = em_step(log_routing_NTL, y_N, mean, variance, self.floor)
        mean_TL.copy_(mean)
        variance_TL.copy_(variance)

    @property
    def _leaves(self) -> tuple[Tensor, Tensor]:
        return cast(Tensor, self.mean_TL), cast(Tensor, self.variance_TL)

    def _estimates(self, out: Tensor) -> Tensor:
        """Each tree's Σ P μ, in 0..1: [B, T]."""
        return (out.exp() * self._leaves[0]).sum(dim=2)

    def _scaled(self, ages_B: Tensor) -> Tensor:
        return (self.ages.clamp(ages_B) - self.ages.youngest) / self.span


def em_step(
    log_routing_NTL: Tensor, y_N: Tensor, mean_TL: Tensor, variance_TL: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """One EM step for the leaves, which never lowers Σ log p_t(y) of the rows (for variances of at least `floor`).

    ζ_iℓ = P(ℓ|x_i) N(y_i; μ_ℓ, σ²_ℓ) / Σ_ℓ' …;  μ = Σ ζ y / Σ ζ;  σ² = max(floor, Σ ζ (y - μ)² / Σ ζ)

    Args:
        log_routing_NTL: log-probability of each leaf, float64.
        y_N: scaled ages, float64.
        mean_TL: the leaves' means, float64.
        variance_TL: the leaves' variances, float64; at least `floor`.
        floor: minimum variance.

    Returns:
        New means and variances.
    """
    zeta_NTL = (log_routing_NTL + _log_normal(y_N[:, None, None], mean_TL, variance_TL)).softmax(dim=2)
    count_TL = zeta_NTL.sum(dim=0)
    first_TL = torch.einsum("ntl,n->tl", zeta_NTL, y_N)
    second_TL = torch.einsum("ntl,n->tl", zeta_NTL, y_N.square())
    sums_4TL = torch.stack([count_TL, first_TL, second_TL, torch.full_like(count_TL, len(y_N))])
    if distributed.is_initialized():
        distributed.all_reduce(sums_4TL)
    count_TL, first_TL, second_TL, rows_TL = sums_4TL
    reached_TL = count_TL > FEWEST * rows_TL / count_TL.shape[1]
    share_TL = count_TL.clamp(min=torch.finfo(count_TL.dtype).tiny)
    new_mean_TL = first_TL / share_TL
    new_variance_TL = (second_TL / share_TL - new_mean_TL.square()).clamp(min=floor)
    return torch.where(reached_TL, new_mean_TL, mean_TL), torch.where(reached_TL, new_variance_TL, variance_TL)


def _log_normal(y: Tensor, mean_TL: Tensor, variance_TL: Tensor) -> Tensor:
    return -0.5 * ((y - mean_TL).square() / variance_TL + (2 * math.pi * variance_TL).log())
