"""The interface of every network: exactly what training, calibration and the estimator use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.card import Model
from cilf.models.clip import TextTower
from cilf.models.evidence import Decode
from cilf.models.system import Labels, Step

Out = TypeVar("Out")


class Network(nn.Module, ABC, Generic[Out]):
    """Maps pixels to age posteriors: CILF-CIAE (cilf.models.cilf) and every other system (cilf.models.systems)."""

    spec: Model
    """The specification that it was built from."""
    ages: AgeSpace
    image: nn.Module
    """The image tower, which has its own learning rate."""
    decode: Decode
    """How an estimate is decoded from a posterior."""
    rests: bool = False
    """True if some training steps leave some of the parameters without a gradient."""
    rows_after_epoch: int = 0
    """Number of training rows that `after_epoch` needs."""
    parts: tuple[str, ...] = ()
    """Names of the parts that an ablation can remove."""

    @abstractmethod
    def forward(self, pixels_BCHW: Tensor) -> Out:
        """Normalised pixels, float [B, C, S, S] -> the output that the other methods take."""

    @abstractmethod
    def loss(self, out: Out, labels: Labels, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts by name, detached."""

    @abstractmethod
    def posteriors(self, out: Out) -> tuple[Tensor, ...]:
        """Posteriors, float32 [B, K] each: first the one that estimates come from, then any others of the network."""

    def embedding(self, out: Out) -> Tensor | None:
        """The embedding of each image, float [B, C]; faces unlike those that it was trained on lie elsewhere. None if
        the network has no embedding."""
        return None

    def training_pass(self, pixels_BCHW: Tensor, labels: Labels | None = None) -> Out:
        """Same as `forward`, but through everything that is trained, including the text tower, and with the captions of
        `labels`."""
        return self(pixels_BCHW)

    def read_captions(self, captions: Sequence[str]) -> None:
        """Store the captions that `Labels.captions_B` indexes, if the network learns from captions."""

    def text_tower(self) -> TextTower | None:
        """The text tower; None if there is none, or it is no longer needed."""
        return None

    def cache_text(self) -> None:
        """Store the prompts' vectors, so that inference needs no text tower."""

    def unweigh(self, weights: Tensor) -> None:
        """Undo the effect on the posterior of weighting training rows by age; `weights` are by whole years."""

    def start_from(self, ages_N: Tensor) -> None:
        """Initialise from the ages of all training rows, years [N]; called before the first step."""

    def after_epoch(self, rows: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Update the network after an epoch from batches of pixels and ages, `rows_after_epoch` training rows in all;
        called in eval mode, by all workers at once, each with its share."""
