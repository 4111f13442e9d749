"""One interface for every network: what training, calibration and the estimator ask of it, and nothing more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn

from cilf.ages import AgeSpace
from cilf.card import Model
from cilf.models.clip import TextTower
from cilf.models.evidence import Decode
from cilf.models.system import Labels, Step

Out = TypeVar("Out")


class Network(nn.Module, ABC, Generic[Out]):
    """Pixels in, age posteriors out: CILF-CIAE (cilf.models.cilf) and every other system (cilf.models.systems)."""

    spec: Model
    """Everything that built it."""
    ages: AgeSpace
    image: nn.Module
    """The image tower, which learns at a rate of its own."""
    decode: Decode
    """How an estimate is read off a posterior."""
    rests: bool = False
    """Whether some steps of training leave some of the parameters without a gradient."""
    rows_after_epoch: int = 0
    """How many training rows `after_epoch` wants to see."""
    parts: tuple[str, ...] = ()
    """What can be taken away from it, to see what it is worth."""

    @abstractmethod
    def forward(self, pixels_BCHW: Tensor) -> Out:
        """Normalised pixels, float [B, C, S, S] -> what the other methods take."""

    @abstractmethod
    def loss(self, out: Out, labels: Labels, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts by name, detached."""

    @abstractmethod
    def posteriors(self, out: Out) -> tuple[Tensor, ...]:
        """Float32 [B, K] each: the posterior that estimates come from, then other opinions that the network holds."""

    def embedding(self, out: Out) -> Tensor | None:
        """Float [B, C]: where the network places each image; faces unlike those it knows lie elsewhere. None: it has
        no such place."""
        return None

    def training_pass(self, pixels_BCHW: Tensor, labels: Labels | None = None) -> Out:
        """`forward` through everything that learns, the text tower included; it reads the captions of `labels`."""
        return self(pixels_BCHW)

    def read_captions(self, captions: Sequence[str]) -> None:
        """Keep the captions that `Labels.captions_B` counts, if the network learns from language."""

    def text_tower(self) -> TextTower | None:
        """The text tower, where there is one and it is still needed."""
        return None

    def cache_text(self) -> None:
        """Keep the prompts' vectors, so that inference needs no text tower."""

    def unweigh(self, weights: Tensor) -> None:
        """Take back what weights of the rows by their age, [whole years], have done to the posterior."""

    def start_from(self, ages_N: Tensor) -> None:
        """Told the ages of all rows to learn from, years [N], before the first step."""

    def after_epoch(self, rows: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Shown batches of pixels and ages, `rows_after_epoch` rows of training, in eval mode after each epoch; by all
        workers at once, each its share."""
