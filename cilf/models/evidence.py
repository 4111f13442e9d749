"""What is known of each row when its estimate is judged: views seen so far, and the features drawn from them.

The features must mean the same for every model, because the error ensemble is fitted on the predictions of
fold models and used on the predictions of another. So they are read off posteriors and ages, in years and
nats, or off an embedding that no fold has trained; never off a model's own latent space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cilf.ages import AgeSpace

Decode = Literal["median", "mean"]

_PRINCIPAL = 64  # axes kept of a frozen embedding: our own choice


@dataclass(frozen=True)
class Predictions:
    """A model's word on n rows under V views each; all floating tensors on one device."""

    probs_BVK: Tensor
    """Age posteriors, one per view, [n, V, K]."""
    others_BVD: Tensor | None = None
    """D other decodes of the same views, years, [n, V, D]: score-map age, matching age."""
    frozen_BC: Tensor | None = None
    """An embedding that training never changed, [n, C]; of the first view, and needed only there."""

    @classmethod
    def concatenated(cls, parts: Sequence[Predictions]) -> Predictions:
        """Of all rows of parts that hold the same things."""
        return cls(
            torch.cat([part.probs_BVK for part in parts]),
            _joined([part.others_BVD for part in parts]),
            _joined([part.frozen_BC for part in parts]),
        )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held) if held else None


Predict = Callable[[Tensor, int, int], Predictions]
"""(rows int64 [n], first_view, n_views) -> Predictions of just these views, in the order of `rows`.

View 0 is the plain one. Views must be a function of (row, view) alone, so that a run can be repeated.
"""


@dataclass(frozen=True)
class Seen:
    """The running sums of all views seen of each row; every row of one object has seen equally many."""

    views: int
    probs_BK: Tensor
    ages_B: Tensor
    squares_B: Tensor
    others_BD: Tensor | None
    frozen_BC: Tensor | None

    @classmethod
    def of(cls, new: Predictions, space: AgeSpace, decode: Decode) -> Seen:
        """Sum the views of `new`."""
        probs_BVK = new.probs_BVK.float()
        n, views, classes = probs_BVK.shape
        if classes != len(space):
            raise ValueError(f"posteriors have {classes} classes, but {space} has {len(space)}")
        ages_BV = decode_age(probs_BVK.reshape(-1, classes), space, decode).view(n, views)
        return cls(
            views=views,
            probs_BK=probs_BVK.sum(dim=1),
            ages_B=ages_BV.sum(dim=1),
            squares_B=ages_BV.square().sum(dim=1),
            others_BD=None if new.others_BVD is None else new.others_BVD.float().sum(dim=1),
            frozen_BC=None if new.frozen_BC is None else new.frozen_BC.float(),
        )

    def at(self, rows: Tensor) -> Seen:
        """The same of some rows, int64 [n]."""
        return Seen(
            self.views,
            self.probs_BK[rows],
            self.ages_B[rows],
            self.squares_B[rows],
            None if self.others_BD is None else self.others_BD[rows],
            None if self.frozen_BC is None else self.frozen_BC[rows],
        )

    def plus(self, new: Seen) -> Seen:
        """Both together; the frozen embedding stays the first view's."""
        others = self.others_BD
        if others is not None:
            if new.others_BD is None:
                raise ValueError("the first view came with other decodes, a later view without")
            others = others + new.others_BD
        return Seen(
            self.views + new.views,
            self.probs_BK + new.probs_BK,
            self.ages_B + new.ages_B,
            self.squares_B + new.squares_B,
            others,
            self.frozen_BC,
        )

    @property
    def posterior_BK(self) -> Tensor:
        """Mean posterior over the views seen, each row summing to one."""
        return self.probs_BK / self.probs_BK.sum(dim=1, keepdim=True)

    @property
    def other_ages_BD(self) -> Tensor | None:
        """Mean over the views of each other decode, years."""
        return None if self.others_BD is None else self.others_BD / self.views


def decode_age(probs_BK: Tensor, space: AgeSpace, decode: Decode) -> Tensor:
    """The age a posterior stands for, [B, K] -> [B] years."""
    return space.median(probs_BK) if decode == "median" else space.mean(probs_BK)


def evidence(seen: Seen, space: AgeSpace, decode: Decode) -> Tensor:
    """Coordinate-free features of each row, float32 [B, 10 + 2 D]; unscaled.

    Where the estimate lies, how wide, flat and skewed the posterior is and what error it declares itself, how
    far views and other decodes disagree, and how many views there were. The list is our own choice.
    """
    probs_BK = seen.posterior_BK
    years_K = space.years(probs_BK)
    age_B = decode_age(probs_BK, space, decode)
    mean_B = space.mean(probs_BK)
    width_B = (probs_BK @ years_K.square() - mean_B.square()).clamp(min=0).sqrt()
    entropy_B = -torch.special.xlogy(probs_BK, probs_BK).sum(dim=1)
    top_B, mode_B = probs_BK.max(dim=1)
    spread_B = (seen.squares_B / seen.views - (seen.ages_B / seen.views).square()).clamp(min=0).sqrt()
    columns = [
        age_B,
        width_B,
        entropy_B,
        top_B,
        space.median(probs_BK) - mean_B,
        mode_B + space.youngest - mean_B,
        space.expected_error(probs_BK, age_B),
        spread_B,
        # Many small widths are worth telling apart; a logarithm spreads them out.
        (width_B + 0.1).log(),
        torch.full_like(age_B, seen.views).log2(),
    ]
    if (others_BD := seen.other_ages_BD) is not None:
        away_BD = others_BD - age_B[:, None]
        columns += [*away_BD.unbind(dim=1), *away_BD.abs().unbind(dim=1)]
    return torch.stack(columns, dim=1)


class EvidenceScaler(nn.Module):
    """Standardises evidence and whitens the frozen embedding; fitted once, then constant.

    Args:
        mean_Z, std_Z: of the evidence columns.
        centre_C, axes_CP: mean and whitening principal axes of the frozen embedding, or None without one.
    """

    mean_Z: Tensor
    std_Z: Tensor
    centre_C: Tensor | None
    axes_CP: Tensor | None

    def __init__(self, mean_Z: Tensor, std_Z: Tensor, centre_C: Tensor | None, axes_CP: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("mean_Z", mean_Z)
        self.register_buffer("std_Z", std_Z)
        self.register_buffer("centre_C", centre_C)
        self.register_buffer("axes_CP", axes_CP)

    @classmethod
    def fit(cls, evidence_NZ: Tensor, frozen_NC: Tensor | None) -> EvidenceScaler:
        """Measure means, spreads and, where there is a frozen embedding, its principal axes."""
        mean_Z, std_Z = evidence_NZ.mean(dim=0), evidence_NZ.std(dim=0).clamp(min=1e-3)
        if frozen_NC is None:
            return cls(mean_Z, std_Z, None, None)
        frozen_NC = frozen_NC.double()
        centre_C = frozen_NC.mean(dim=0)
        values_C, axes_CC = torch.linalg.eigh((frozen_NC - centre_C).T.cov())
        # An axis fitted on fewer than ten rows would be noise.
        steep = int((values_C > 1e-6 * values_C[-1]).sum())
        wanted = max(1, min(_PRINCIPAL, len(frozen_NC) // 10, steep))
        axes_CP = axes_CC[:, -wanted:] / values_C[-wanted:].sqrt()
        return cls(mean_Z, std_Z, centre_C.float(), axes_CP.float().contiguous())

    @property
    def width(self) -> int:
        """Columns that `forward` gives."""
        return len(self.mean_Z) + (0 if self.axes_CP is None else self.axes_CP.shape[1])

    def forward(self, evidence_BZ: Tensor, frozen_BC: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scaled evidence, [B, width], and each row's Mahalanobis distance in the frozen space, [B].

        The distance is zero without a frozen embedding.

        Raises:
            ValueError: evidence of another kind than it was fitted on.
        """
        if evidence_BZ.shape[1] != len(self.mean_Z) or (frozen_BC is None) != (self.axes_CP is None):
            raise ValueError(
                f"the corrector was fitted on {len(self.mean_Z)} evidence columns and "
                f"{'a' if self.axes_CP is not None else 'no'} frozen embedding, but got "
                f"{evidence_BZ.shape[1]} and {'a' if frozen_BC is not None else 'none'}: "
                "pass the same kinds of Predictions as in fitting"
            )
        scaled_BZ = (evidence_BZ - self.mean_Z) / self.std_Z
        if frozen_BC is None or self.axes_CP is None or self.centre_C is None:
            return scaled_BZ, scaled_BZ.new_zeros(len(scaled_BZ))
        white_BP = (frozen_BC - self.centre_C) @ self.axes_CP
        return torch.cat([scaled_BZ, white_BP], dim=1), white_BP.norm(dim=1)
