"""Every published system on a toy backbone: rows of eight numbers in, features of all kinds out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.card import Clip, Prompts
from cilf.models.clip import TextTower, build_clip
from cilf.models.coral import CoralHead
from cilf.models.corn import CornHead
from cilf.models.dex import DexHead
from cilf.models.l2rclip import L2rClipHead
from cilf.models.mean_residue import MeanResidueHead
from cilf.models.mivolo import MiVoloHead
from cilf.models.ordinalclip import OrdinalClipHead
from cilf.models.plain_clip import PlainClipHead
from cilf.models.regression import RegressionHead
from cilf.models.regression_forest import RegressionForestHead
from cilf.models.settings import (
    Coral,
    Corn,
    Dex,
    L2rClip,
    MeanResidue,
    MiVolo,
    OrdinalClip,
    Regression,
    RegressionForest,
    SwinFace,
)
from cilf.models.swinface import SwinFaceHead
from cilf.models.system import Channels, Features, System

CHANNELS = Channels(pooled=32, map=32, levels=(6, 8, 12, 12))
CLIP = Clip(
    architecture={
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
)

_PLAIN = {
    "regression": (RegressionHead, Regression()),
    "regression, smooth": (RegressionHead, Regression(loss="smooth_l1")),
    "dex": (DexHead, Dex()),
    "dex, all additions": (DexHead, Dex(label_sigma=2.0, mean_variance=True)),
    "mean_residue": (MeanResidueHead, MeanResidue()),
    "coral": (CoralHead, Coral()),
    "coral, hidden": (CoralHead, Coral(hidden=16)),
    "corn": (CornHead, Corn()),
    "forest": (RegressionForestHead, RegressionForest(trees=2, depth=4, units=24)),
    "forest, likelihood": (RegressionForestHead, RegressionForest(trees=2, depth=4, units=24, loss="likelihood")),
    "swinface": (SwinFaceHead, SwinFace(width=32, dropout=0.0)),
    "mivolo": (MiVoloHead, MiVolo()),
}
_WITH_TEXT = {
    "ordinalclip": (OrdinalClipHead, OrdinalClip(bases=3, scale=10)),
    "ordinalclip, hats": (OrdinalClipHead, OrdinalClip(interpolation="hat", scale=10)),
    "l2rclip": (L2rClipHead, L2rClip(heads=2, scale=10)),
    "clip": (PlainClipHead, Prompts(context=2)),
}
NAMES = (*_PLAIN, *_WITH_TEXT)
WITH_TEXT = tuple(_WITH_TEXT)


def build(name: str, ages: AgeSpace, *, deployed: bool = False) -> System:
    torch.manual_seed(0)
    if name in _PLAIN:
        head, settings = _PLAIN[name]
        return head(CHANNELS, ages, settings)
    head, settings = _WITH_TEXT[name]
    return head(CHANNELS, ages, settings, CLIP, None if deployed else TextTower(build_clip(CLIP, 32)))


class ToyBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.pooled = nn.Linear(8, CHANNELS.pooled)
        self.map = nn.Linear(8, CHANNELS.map * 4)
        sides = (4, 4, 2, 2)
        self.levels = nn.ModuleList(nn.Linear(8, c * s * s) for c, s in zip(CHANNELS.levels, sides, strict=True))

    def forward(self, x_B8: Tensor) -> Features:
        levels = tuple(
            level(x_B8).unflatten(1, (channels, side, side))
            for level, channels, side in zip(self.levels, CHANNELS.levels, (4, 4, 2, 2), strict=True)
        )
        return Features(self.pooled(x_B8), self.map(x_B8).unflatten(1, (CHANNELS.map, 2, 2)), levels)


def toy_rows(ages: AgeSpace, rows: int = 48) -> tuple[Tensor, Tensor]:
    """Rows [N, 8] that encode an age, and the ages [N], which include every class if N is large enough."""
    random = torch.Generator().manual_seed(2)
    ages_N = ages.youngest + torch.arange(rows) % len(ages)
    place_N = (ages_N - ages.youngest) / (len(ages) - 1)
    bumps_N8 = torch.exp(-8 * (place_N[:, None] - torch.linspace(0, 1, 8)).square())
    return bumps_N8 + 0.05 * torch.randn(rows, 8, generator=random), ages_N.float()
