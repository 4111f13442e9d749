"""The evidence by which the estimate of each row is judged, and the features computed from it.

At first this is the network's posterior, its other age estimates, the quality of the crop and the network's embedding
of it. A second look adds the posterior of an independent network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from cilf.age_space import AgeSpace

Decode = Literal["median", "mean"]

_FAR = 8.0  # standard deviations
_LEAST = 1e-6  # mass below which a class counts as empty


@dataclass(frozen=True)
class Look:
    """Evidence for B rows; all float32 tensors on one device. None if the network does not provide it."""

    posterior_BK: Tensor
    """Each row sums to one."""
    others_BD: Tensor | None = None
    """The network's other age estimates, years: from the score map, the matching, or the image without its mirror."""
    quality_BQ: Tensor | None = None
    """Columns of cilf.models.quality."""
    embedding_BC: Tensor | None = None
    """The network's own embedding of the image."""
    second_BK: Tensor | None = None
    """Posterior of the second network; each row sums to one."""

    def __len__(self) -> int:
        return len(self.posterior_BK)

    def at(self, rows: Tensor | slice) -> Look:
        """The evidence for the selected rows: int64 [n], bool [B] or a slice."""

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
        """A copy with the second network's posterior; None removes it."""
        return replace(self, second_BK=posterior_BK)

    @classmethod
    def concatenated(cls, parts: Sequence[Look]) -> Look:
        """Concatenate parts that hold the same fields."""
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
    """Decode a posterior to an age, [B, K] -> [B] years."""
    return space.median(probs_BK) if decode == "median" else space.mean(probs_BK)


def joint_posterior(look: Look, weights: tuple[float, float]) -> Tensor:
    """The posterior from all evidence, [B, K]: p1^w1 p2^w2 after a second look, else p1.

    A weighted geometric mean (logarithmic opinion pool, Genest & Zidek 1986): a class that one network excludes stays
    excluded.
    """
    if look.second_BK is None:
        return look.posterior_BK
    first_BK, second_BK = (p.clamp(min=_LEAST).log() for p in (look.posterior_BK, look.second_BK))
    return (weights[0] * first_BK + weights[1] * second_BK).softmax(dim=1)


def evidence(look: Look, joint_BK: Tensor, space: AgeSpace, decode: Decode) -> Tensor:
    """Features of each row, float32 [B, Z]; unscaled.

    The estimate; the posterior's width, entropy, peak and skew, and the error that it implies; the distances of the
    other estimates and of the second network from the estimate; the quality of the crop. The list is our own choice.

    Args:
        look: the evidence.
        joint_BK: its `joint_posterior`.
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
        # Differences between small widths matter; a logarithm spreads them out.
        (width_B + 0.1).log(),
    ]


def _disagreement(first_BK: Tensor, second_BK: Tensor, age_B: Tensor, space: AgeSpace, decode: Decode) -> list[Tensor]:
    """Differences of two networks' ages from the joint age and from each other, the overlap of their posteriors, and
    the error that each posterior implies."""
    first_B, second_B = (decode_age(p, space, decode) for p in (first_BK, second_BK))
    overlap_B = (first_BK * second_BK).clamp(min=0).sqrt().sum(dim=1)
    widths = [space.expected_error(p, a) for p, a in ((first_BK, first_B), (second_BK, second_B))]
    return [first_B - age_B, second_B - age_B, (first_B - second_B).abs(), overlap_B, *widths]


class EvidenceScaler(nn.Module):
    """Standardises evidence; fitted once, then constant.

    Args:
        mean_Z, std_Z: mean and standard deviation of each evidence column.
    """

    mean_Z: Tensor
    std_Z: Tensor

    def __init__(self, mean_Z: Tensor, std_Z: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_Z", mean_Z)
        self.register_buffer("std_Z", std_Z)

    @classmethod
    def fit(cls, evidence_NZ: Tensor) -> EvidenceScaler:
        """Measure means and standard deviations."""
        return cls(evidence_NZ.mean(dim=0), evidence_NZ.std(dim=0).clamp(min=1e-3))

    @property
    def width(self) -> int:
        """Number of evidence columns."""
        return len(self.mean_Z)

    def forward(self, evidence_BZ: Tensor) -> Tensor:
        """Scaled evidence, [B, Z].

        Raises:
            ValueError: the number of columns is not that of the rows it was fitted on.
        """
        if evidence_BZ.shape[1] != self.width:
            raise ValueError(
                f"the corrector was fitted on {self.width} evidence columns, but got {evidence_BZ.shape[1]}: pass "
                "a Look with the same fields as in fitting"
            )
        # Clamp images that are unlike all known ones: nothing was learned beyond this range.
        return ((evidence_BZ - self.mean_Z) / self.std_Z).clamp(-_FAR, _FAR)
