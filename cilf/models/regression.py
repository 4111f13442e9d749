"""Regression CNN: one number per face, the simplest baseline.

The output is standardised by the training ages, because the error in years of a network that starts at 0 would
dominate everything else; both losses are in years.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.settings import Regression
from cilf.models.system import Channels, Decoded, Features, Step, System, summed


class RegressionHead(System[Tensor]):
    """x = median + spread · (w·h + b); `out` is x, years [B], not clamped to the range.

    Before `start_from` is called, the median is the range's middle and the spread a quarter of its width.
    """

    def __init__(self, channels: Channels, ages: AgeSpace, settings: Regression) -> None:
        super().__init__(ages)
        self.settings = settings
        self.linear = nn.Linear(channels.pooled, 1)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("median", torch.tensor((ages.youngest + ages.oldest) / 2))
        self.register_buffer("spread", torch.tensor((ages.oldest - ages.youngest) / 4))

    @torch.no_grad()
    def start_from(self, ages_N: Tensor) -> None:
        """Set median and spread to the training ages' median and standard deviation; the latter at least one class."""
        ages_N = self.ages.clamp(ages_N.float())
        cast(Tensor, self.median).copy_(ages_N.median())
        cast(Tensor, self.spread).copy_(ages_N.std(correction=0).clamp(min=1))

    def forward(self, features: Features) -> Tensor:
        standardised_B = self.linear(features.pooled_BC).squeeze(1).float()
        return cast(Tensor, self.median) + cast(Tensor, self.spread) * standardised_B

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error, years; smooth L1 instead takes half the squared error for errors below one year."""
        of = F.l1_loss if self.settings.loss == "l1" else F.smooth_l1_loss
        return summed({self.settings.loss: of(out, self.ages.clamp(ages_B))})

    def decode(self, out: Tensor) -> Decoded:
        return Decoded(self.ages.clamp(out), None)
