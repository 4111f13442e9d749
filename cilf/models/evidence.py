"""What is known of each row when its estimate is judged, and the numbers drawn from it.

At first sight that is the network's posterior, the other ages that it holds, what the crop is like and the network's
embedding of it. A second look adds the posterior of an independent network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from cilf.ages import AgeSpace

Decode = Literal["median", "mean"]

_FAR = 8.0  # standard deviations
_LEAST = 1e-6  # mass below which a class counts as empty


@dataclass(frozen=True)
class Look:
    """What is known of B rows; all float32 tensors on one device. None: the network does not tell."""

    posterior_BK: Tensor
    """Each row sums to one."""
    others_BD: Tensor | None = None
    """Other ages that the network holds, years: of the score map, of the matching, of the image without its mirror."""
    quality_BQ: Tensor | None = None
    """cilf.models.quality."""
    embedding_BC: Tensor | None = None
    """The network's own embedding of the image."""
    second_BK: Tensor | None = None
    """Posterior of the second network; rows sum to one."""

    def __len__(self) -> int:
        return len(self.posterior_BK)

    def at(self, rows: Tensor | slice) -> Look:
        """The same of some rows, int64 [n], bool [B] or a slice."""

        def of(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[rows]

        return Look(
            self.posterior_BK[rows],
            of(self.others_BD),
            of(self.quality_BQ),
            of(self.embedding_BC),
            of(self.second_BK),
        )

    def with_second(self, posterior_BK: Tensor | None) -> Look:
        """The same with the second network's word; None takes it away."""
        return replace(self, second_BK=posterior_BK)

    @classmethod
    def concatenated(cls, parts: Sequence[Look]) -> Look:
        """All rows of parts that hold the same things."""
        return cls(
            torch.cat([part.posterior_BK for part in parts]),
            _joined([part.others_BD for part in parts]),
            _joined([part.quality_BQ for part in parts]),
            _joined([part.embedding_BC for part in parts]),
            _joined([part.second_BK for part in parts]),
        )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held) if held else None


def decode_age(probs_BK: Tensor, space: AgeSpace, decode: Decode) -> Tensor:
    """The age a posterior stands for, [B, K] -> [B] years."""
    return space.median(probs_BK) if decode == "median" else space.mean(probs_BK)


def joint_posterior(look: Look, weights: tuple[float, float]) -> Tensor:
    """The posterior of all that is known, [B, K]: p1^w1 p2^w2 after a second look, else p1.

    A weighted geometric mean (logarithmic opinion pool, Genest & Zidek 1986): a class that one network excludes stays
    excluded.
    """
    if look.second_BK is None:
        return look.posterior_BK
    first_BK, second_BK = (p.clamp(min=_LEAST).log() for p in (look.posterior_BK, look.second_BK))
    return (weights[0] * first_BK + weights[1] * second_BK).softmax(dim=1)


def evidence(look: Look, joint_BK: Tensor, space: AgeSpace, decode: Decode) -> Tensor:
    """Features of each row, float32 [B, Z]; unscaled.

    Where the estimate lies, how wide, flat and skewed the posterior is and what error it declares itself; how far other
    ages and a second network are from it; what the crop is like. The list is our own choice.

    Args:
        look: what is known.
        joint_BK: `joint_posterior` of it.
    """
    age_B = decode_age(joint_BK, space, decode)
    columns = _shape(joint_BK, age_B, space)
    if look.others_BD is not None:
        away_BD = look.others_BD - age_B[:, None]
        columns += [*away_BD.unbind(dim=1), *away_BD.abs().unbind(dim=1)]
    if look.second_BK is not None:
        columns += _disagreement(look.posterior_BK, look.second_BK, age_B, space, decode)
    if look.quality_BQ is not None:
        columns += look.quality_BQ.unbind(dim=1)
    return torch.stack(columns, dim=1)


def _shape(probs_BK: Tensor, age_B: Tensor, space: AgeSpace) -> list[Tensor]:
    years_K, mean_B = space.years(probs_BK), space.mean(probs_BK)
    width_B = (probs_BK @ years_K.square() - mean_B.square()).clamp(min=0).sqrt()
    top_B, mode_B = probs_BK.max(dim=1)
    return [
        age_B,
        width_B,
        -torch.special.xlogy(probs_BK, probs_BK).sum(dim=1),
        top_B,
        space.median(probs_BK) - mean_B,
        mode_B + space.youngest - mean_B,
        space.expected_error(probs_BK, age_B),
        # Many small widths are worth telling apart; a logarithm spreads them out.
        (width_B + 0.1).log(),
    ]


def _disagreement(first_BK: Tensor, second_BK: Tensor, age_B: Tensor, space: AgeSpace, decode: Decode) -> list[Tensor]:
    """How far two networks are from each other and from the age of both."""
    first_B, second_B = (decode_age(p, space, decode) for p in (first_BK, second_BK))
    overlap_B = (first_BK * second_BK).clamp(min=0).sqrt().sum(dim=1)
    widths = [space.expected_error(p, a) for p, a in ((first_BK, first_B), (second_BK, second_B))]
    return [first_B - age_B, second_B - age_B, (first_B - second_B).abs(), overlap_B, *widths]


class EvidenceScaler(nn.Module):
    """Standardises evidence; fitted once, then constant.

    Args:
        mean_Z, std_Z: of the evidence columns.
    """

    mean_Z: Tensor
    std_Z: Tensor

    def __init__(self, mean_Z: Tensor, std_Z: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_Z", mean_Z)
        self.register_buffer("std_Z", std_Z)

    @classmethod
    def fit(cls, evidence_NZ: Tensor) -> EvidenceScaler:
        """Measure means and spreads."""
        return cls(evidence_NZ.mean(dim=0), evidence_NZ.std(dim=0).clamp(min=1e-3))

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.mean_Z)

    def forward(self, evidence_BZ: Tensor) -> Tensor:
        """Scaled evidence, [B, Z].

        Raises:
            ValueError: evidence of another kind than it was fitted on.
        """
        if evidence_BZ.shape[1] != self.width:
            raise ValueError(
                f"the corrector was fitted on {self.width} evidence columns, but got {evidence_BZ.shape[1]}: give it "
                "the same kind of Look as in fitting"
            )
        # A picture of an unknown kind is as strange as the strangest known, not more: nothing was learned beyond.
        return ((evidence_BZ - self.mean_Z) / self.std_Z).clamp(-_FAR, _FAR)
