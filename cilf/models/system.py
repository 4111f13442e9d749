"""The interface of every age model: features in; loss, ages and, if the system has one, a posterior out.

A system is a head: `backbone(images) -> Features`, `head(features) -> out`. It is built from the backbone's channels,
the classes and its settings (cilf.models.settings) alone. Judging and correcting an estimate (cilf.models.corrector)
works on any posterior, so on that of every system that has one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.models.evidence import Decode


@dataclass(frozen=True)
class Features:
    """A backbone's outputs for a batch, all float."""

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
    """Progress of training."""

    number: int
    """Number of optimiser steps done."""
    total: int
    first_epoch: bool = False
    """True in the first epoch, while all predictions are still alike."""

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return min(1.0, self.number / max(1, self.total))


@dataclass(frozen=True)
class Labels:
    """Labels of the images of a step, all [B] on the images' device."""

    ages_B: Tensor
    """Years, float32; for a group, its middle."""
    low_B: Tensor
    high_B: Tensor
    """First and last year of the group, both included; both are the age itself if it is known."""
    weights_B: Tensor
    """Weight of each image in the loss, float32."""
    captions_B: Tensor
    """int64: index of the image's caption among those passed to `Network.read_captions`; -1 for none."""
    views: int = 1
    """Number of consecutive images that are views of one face."""
    taught_BK: Tensor | None = None
    """A teacher's age posterior of each image, float32."""

    @classmethod
    def exact(cls, ages_B: Tensor) -> Labels:
        """Labels for images with known ages, without captions and all of weight 1."""
        return cls(ages_B, ages_B, ages_B, torch.ones_like(ages_B), torch.full_like(ages_B, -1, dtype=torch.int64))


class Decoded(NamedTuple):
    """Estimates."""

    age_B: Tensor
    """Years, float32, inside the range."""
    posterior_BK: Tensor | None
    """Float32, rows sum to 1; None if the system predicts a single number only."""


Out = TypeVar("Out")


class System(nn.Module, ABC, Generic[Out]):
    """A head. Losses are in float32 at any precision of the network."""

    rule: Decode = "mean"
    """How the corrector decodes an estimate from a posterior; as close to `decode` as possible."""
    rests = False
    """True if some steps leave some of the parameters without a gradient."""
    rows_after_epoch = 0
    """Number of training rows that `after_epoch` needs."""

    def __init__(self, ages: AgeSpace) -> None:
        super().__init__()
        self.ages = ages

    @abstractmethod
    def forward(self, features: Features) -> Out:
        """Features of B images -> the output that the other methods take."""

    @abstractmethod
    def loss(self, out: Out, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss for true ages in years, [B] float, and its parts by name, detached; all scalars.

        Ages outside the range are clamped to it. Fractional ages are rounded only where the system needs classes.
        """

    @abstractmethod
    def decode(self, out: Out) -> Decoded:
        """Decode estimates by the system's own rule."""

    def start_from(self, ages_N: Tensor) -> None:
        """Initialise from the ages of all training rows, years [N]; called before the first step."""

    def after_epoch(self, rows: Iterable[tuple[Features, Tensor]]) -> None:
        """Update the head after an epoch from batches of features and ages, `rows_after_epoch` training rows in all.

        The features come from the network in eval mode. In a process group all workers call this, each with its share.
        """


def summed(parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of a loss's parts, and the parts detached."""
    return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}


def expectation(ages: AgeSpace, logits_BK: Tensor) -> Decoded:
    """Decode class logits by the mean of their posterior (DEX, Rothe et al., IJCV 2018)."""
    posterior_BK = logits_BK.float().softmax(dim=1)
    return Decoded(ages.mean(posterior_BK), posterior_BK)
