"""Every published system as a network: the shared image tower (or the system's own backbone) and its head."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from cilf.card import Model
from cilf.models import settings
from cilf.models.cilf import CILF
from cilf.models.clip import ImageTower, TextTower, build_clip
from cilf.models.coral import CoralHead
from cilf.models.corn import CornHead
from cilf.models.dex import DexHead
from cilf.models.l2rclip import L2rClipHead
from cilf.models.mean_residue import MeanResidueHead
from cilf.models.mivolo import FaceBody, MiVoloHead
from cilf.models.network import Network
from cilf.models.ordinalclip import OrdinalClipHead
from cilf.models.plain_clip import PlainClipHead
from cilf.models.prototypes import PrototypeHead
from cilf.models.regression import RegressionHead
from cilf.models.regression_forest import RegressionForestHead
from cilf.models.swinface import SwinFaceHead
from cilf.models.system import Channels, Features, Labels, Step, System

_HEADS: dict[type, Callable[..., System]] = {
    settings.Regression: RegressionHead,
    settings.Dex: DexHead,
    settings.MeanResidue: MeanResidueHead,
    settings.Coral: CoralHead,
    settings.Corn: CornHead,
    settings.RegressionForest: RegressionForestHead,
    settings.SwinFace: SwinFaceHead,
    settings.MiVolo: MiVoloHead,
}
_TEXT_HEADS: dict[type, Callable[..., System]] = {
    settings.PlainClip: PlainClipHead,
    settings.OrdinalClip: OrdinalClipHead,
    settings.L2rClip: L2rClipHead,
}


def build_network(spec: Model, *, deployed: bool = False, load_weights: bool = True) -> Network:
    """Build the network that a card or a recipe describes.

    Args:
        spec: the complete specification.
        deployed: build without text tower, for a checkpoint that holds the prompts' vectors.
        load_weights: read the CLIP weights that `spec` names; False if a checkpoint is loaded afterwards.

    Raises:
        UsageError: the parts do not fit together, or the CLIP weights are not available.
    """
    kind = CILF if spec.system is None else SystemNetwork
    return kind(spec, deployed=deployed, load_weights=load_weights)


class SystemNetwork(Network[Any]):
    """A published system as a network; arguments and errors as for `build_network`.

    A system that predicts a single number gets a posterior concentrated at that number, so that the corrector can judge
    it: by the age itself, and by how far views of one image disagree.
    """

    def __init__(self, spec: Model, *, deployed: bool = False, load_weights: bool = True) -> None:
        super().__init__()
        assert spec.system is not None
        self.spec, kind = spec, type(spec.system)
        self.ages = spec.ages.space
        self.levels = isinstance(spec.system, settings.SwinFace)
        text: TextTower | None = None
        if isinstance(spec.system, settings.MiVolo):
            self.image: nn.Module = FaceBody(spec.system, spec.images)
        else:
            clip = build_clip(spec.clip, spec.images.size, load_weights=load_weights)
            self.image = ImageTower(cast(nn.Module, clip.visual))
            if kind in _TEXT_HEADS and not deployed:
                text = TextTower(clip)
        channels = self._channels()
        self.head: System
        if kind in _TEXT_HEADS:
            said = spec.prompts if kind is settings.PlainClip else spec.system
            self.head = _TEXT_HEADS[kind](channels, self.ages, said, spec.clip, text)
        else:
            self.head = _HEADS[kind](channels, self.ages, spec.system)
        self.decode, self.rests = self.head.rule, self.head.rests
        self.rows_after_epoch = self.head.rows_after_epoch

    def features(self, pixels_BCHW: Tensor) -> Features:
        """Features that the head takes, from normalised pixels, float [B, C, S, S]."""
        if isinstance(self.image, ImageTower):
            return self.image.features(pixels_BCHW, self.levels)
        return self.image(pixels_BCHW)

    def forward(self, pixels_BCHW: Tensor) -> Any:
        return self.head(self.features(pixels_BCHW))

    def loss(self, out: Any, labels: Labels, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The system's loss, from ages alone; recipes that set weights are refused."""
        return self.head.loss(out, labels.ages_B, step)

    def posteriors(self, out: Any) -> tuple[Tensor, ...]:
        age_B, posterior_BK = self.head.decode(out)
        return (self.ages.points(age_B) if posterior_BK is None else posterior_BK,)

    def text_tower(self) -> TextTower | None:
        return self.head.text if isinstance(self.head, PrototypeHead) else None

    def cache_text(self) -> None:
        if isinstance(self.head, PrototypeHead):
            self.head.freeze_text()

    def start_from(self, ages_N: Tensor) -> None:
        self.head.start_from(ages_N)

    @torch.no_grad()
    def after_epoch(self, rows: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.head.after_epoch((self.features(pixels), ages) for pixels, ages in rows)

    @torch.no_grad()
    def _channels(self) -> Channels:
        (side, _, channels), was_training = self.spec.images.shape, self.image.training
        self.image.eval()
        seen = self.features(torch.zeros(1, channels, side, side))
        self.image.train(was_training)
        return Channels(seen.pooled_BC.shape[1], seen.map_BCHW.shape[1], tuple(level.shape[1] for level in seen.levels))
