"""Heads of published systems that can be fitted on a face's frozen row of numbers, each with new weights.

All heads get the same numbers through one hidden layer of the same width: a linear layer, without a nonlinearity before
it, could not put ages in order. SwinFace and MiVOLO need a backbone's levels and pixels, OrdinalCLIP and L2RCLIP a text
tower to train; the row contains none of these, so those systems are not included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.models.cilf import L1_WEIGHT, LABEL_SIGMA, MATCH_WEIGHT, Output
from cilf.models.coral import CoralHead
from cilf.models.corn import CornHead
from cilf.models.dex import DexHead
from cilf.models.matching import matching_loss
from cilf.models.mean_residue import MeanResidueHead
from cilf.models.regression import RegressionHead
from cilf.models.regression_forest import RegressionForestHead
from cilf.models.settings import Coral, Corn, Dex, MeanResidue, Regression, RegressionForest
from cilf.models.system import Channels, Decoded, Features, Step, System, summed

HIDDEN = 256
"""Units of the one hidden layer."""

DROPOUT = 0.1


@dataclass(frozen=True)
class Given:
    """The age range of the heads, and the frozen network's constants that they use."""

    ages: AgeSpace
    text_KC: Tensor
    """The prompts' vectors. A row of numbers has C values of f and K of the score map."""
    scale: float
    """1 / τ of the model."""

    @property
    def fused(self) -> int:
        """C, the number of values of f in a row."""
        return self.text_KC.shape[1]

    @property
    def width(self) -> int:
        """X, the number of values in a row."""
        return self.fused + len(self.ages)


class OnFrozen(nn.Module):
    """A head with the trainable layers before it."""

    def __init__(self, bend: nn.Module, head: System) -> None:
        super().__init__()
        self.bend = bend
        self.head = head

    def forward(self, x_BX: Tensor) -> Features:
        """The head's input features for rows x, [B, X]."""
        return Features(self.bend(x_BX), x_BX.new_zeros(len(x_BX), 0, 1, 1))


class CiaeHead(System[Output]):
    """CILF-CIAE's posterior, cilf.models.cilf, after its FourierFormer; pooled features are x = [f; score logits].

    g = MLP(x);  p = softmax(<g, t> / τ + score logits + prior), decoded by its median, as CILF decodes.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given.ages)
        self.fused = given.fused
        self.text_KC: Tensor
        self.register_buffer("text_KC", F.normalize(given.text_KC, dim=1))
        self.joint = nn.Sequential(*_hidden(given.width), nn.Linear(HIDDEN, given.fused))
        self.match_scale = nn.Parameter(torch.tensor(math.log(given.scale)))
        self.prior_K = nn.Parameter(torch.zeros(len(given.ages)))

    def forward(self, features: Features) -> Output:
        x_BX = features.pooled_BC
        joint_BC = F.normalize(self.joint(x_BX), dim=1)
        scale = self.match_scale.clamp(max=math.log(100)).exp()
        match_BK, score_BK = scale * joint_BC @ self.text_KC.T, x_BX[:, self.fused :]
        return Output(self.prior_K + match_BK + score_BK, score_BK, match_BK, joint_BC, scale)

    def loss(self, out: Output, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """L_age + 0.3 L_match as in cilf.models.cilf; L_score depends only on the frozen score map and is constant."""
        labels_BK = self.ages.soft_labels(ages_B, LABEL_SIGMA)
        error_B = self.ages.mean(out.posterior_BK) - self.ages.clamp(ages_B)
        said_BC, one_kind_B = self.text_KC[self.ages.classes(ages_B)], torch.zeros_like(ages_B)
        return summed(
            {
                "kl": F.kl_div(out.logits_BK.log_softmax(dim=1), labels_BK, reduction="batchmean"),
                "l1": L1_WEIGHT * error_B.abs().mean(),
                "match": MATCH_WEIGHT * matching_loss(out.joint_BC, said_BC, ages_B, one_kind_B, out.scale),
            }
        )

    def decode(self, out: Output) -> Decoded:
        return Decoded(self.ages.median(out.posterior_BK), out.posterior_BK)


CIAE = "cilf_ciae"

_FIELD: dict[str, Callable[[Channels, AgeSpace], System]] = {
    "dex": lambda channels, ages: DexHead(channels, ages, Dex()),
    "coral": lambda channels, ages: CoralHead(channels, ages, Coral()),
    "regression": lambda channels, ages: RegressionHead(channels, ages, Regression()),
    "label_distribution": lambda channels, ages: DexHead(channels, ages, Dex(label_sigma=LABEL_SIGMA)),
    "mean_variance": lambda channels, ages: DexHead(channels, ages, Dex(mean_variance=True)),
    "mean_residue": lambda channels, ages: MeanResidueHead(channels, ages, MeanResidue()),
    "corn": lambda channels, ages: CornHead(channels, ages, Corn()),
    "regression_forest": lambda channels, ages: RegressionForestHead(channels, ages, RegressionForest()),
}

SYSTEMS = (CIAE, *_FIELD)
"""Names of the systems."""


def build(system: str, given: Given) -> OnFrozen:
    """Creates a system with new weights, drawn by torch's generator."""
    if system == CIAE:
        return OnFrozen(nn.Identity(), CiaeHead(given))
    head = _FIELD[system](Channels(pooled=HIDDEN, map=0), given.ages)
    return OnFrozen(nn.Sequential(*_hidden(given.width)), head)


def _hidden(width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT)
