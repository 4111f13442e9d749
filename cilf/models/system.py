"""One interface for every age model: features in; loss, ages and, where the system has one, a posterior out.

A system is a head: `backbone(images) -> Features`, `head(features) -> out`. What a backbone gives and which
settings a head takes (cilf.models.settings) are all that it is built from, beside the classes. Judging and correcting
an estimate (cilf.models.corrector) works on any posterior, so on that of every system that has one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from cilf.ages import AgeSpace
from cilf.models.evidence import Decode


@dataclass(frozen=True)
class Features:
    """What a backbone makes of a batch, all float."""

    pooled_BC: Tensor
    map_BCHW: Tensor
    levels: tuple[Tensor, ...] = ()
    """[B, C, H, W] each, from fine to coarse."""


@dataclass(frozen=True)
class Channels:
    """Channel counts of a backbone's features."""

    pooled: int
    map: int
    levels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """How far training is."""

    number: int
    """Steps of the optimiser that are done."""
    total: int
    first_epoch: bool = False
    """All predictions are still alike."""

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return min(1.0, self.number / max(1, self.total))


@dataclass(frozen=True)
class Labels:
    """What is known of the images of a step, all [B] on their device."""

    ages_B: Tensor
    """Years, float32; the middle of a group."""
    low_B: Tensor
    high_B: Tensor
    """First and last year of the group, both included; the age itself where it is known."""
    weights_B: Tensor
    """How much each image counts in the loss, float32."""
    captions_B: Tensor
    """int64: which of the captions that the network was given is the image's; -1 for none."""
    views: int = 1
    """So many images in a row are views of one face."""
    taught_BK: Tensor | None = None
    """A teacher's age posterior of each image, float32."""

    @classmethod
    def exact(cls, ages_B: Tensor) -> Labels:
        """Labels of images of which the age is known, and nothing else."""
        return cls(ages_B, ages_B, ages_B, torch.ones_like(ages_B), torch.full_like(ages_B, -1, dtype=torch.int64))


class Decoded(NamedTuple):
    """Estimates."""

    age_B: Tensor
    """Years, float32, inside the range."""
    posterior_BK: Tensor | None
    """Float32, rows sum to 1; None where the system speaks of one number only."""


Out = TypeVar("Out")


class System(nn.Module, ABC, Generic[Out]):
    """A head. Losses are in float32 whatever the precision of the network."""

    rule: Decode = "mean"
    """How the corrector, which goes by posteriors, reads an estimate off one; as near to `decode` as that can be."""
    rests = False
    """Whether some steps leave some of the parameters without a gradient."""
    rows_after_epoch = 0
    """How many training rows `after_epoch` wants to see."""

    def __init__(self, ages: AgeSpace) -> None:
        super().__init__()
        self.ages = ages

    @abstractmethod
    def forward(self, features: Features) -> Out:
        """Features of B images -> what the other methods take."""

    @abstractmethod
    def loss(self, out: Out, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss against true ages in years, [B] float, and its parts by name, detached; all scalars.

        Ages outside the range count as its ends. Ages that are no whole years are rounded only where the system needs
        classes.
        """

    @abstractmethod
    def decode(self, out: Out) -> Decoded:
        """Estimates, by the system's own rule."""

    def start_from(self, ages_N: Tensor) -> None:
        """Told the ages of all training rows, years [N], before the first step."""

    def after_epoch(self, rows: Iterable[tuple[Features, Tensor]]) -> None:
        """Told batches of `rows_after_epoch` training rows and their ages; features are of the network in eval mode.

        In a process group each worker passes its share, and all call this.
        """


def summed(parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Their sum, and the parts detached."""
    return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}


def expectation(ages: AgeSpace, logits_BK: Tensor) -> Decoded:
    """Decode class logits by the mean of their posterior (DEX, Rothe et al., IJCV 2018)."""
    posterior_BK = logits_BK.float().softmax(dim=1)
    return Decoded(ages.mean(posterior_BK), posterior_BK)
