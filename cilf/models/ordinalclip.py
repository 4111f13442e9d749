"""OrdinalCLIP (Li et al., NeurIPS 2022, arXiv 2206.02338): rank prompts made from a few base embeddings.

Rank k's word is E_k = Σ_j w_kj e_j, a blend of B learned base embeddings at evenly spaced positions b_j over the ranks,
so that neighbours are similar. It follows a learned context, and the frozen text tower maps it to a prototype. The
published "linear" weights 1 - |k - b_j| / (R - 1) do not interpolate, because no rank gets a base embedding unchanged;
the "inverse" weights do, but grow again beyond the next base. "hat" (ours) interpolates between neighbours only.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip
from cilf.models.clip import TextTower
from cilf.models.prototypes import PrototypeHead, PrototypeOutput, RankPrompts
from cilf.models.settings import OrdinalClip
from cilf.models.system import Channels, Step, summed

_SHARPNESS = 10.0  # inverse temperature of the targets over a batch's images


class OrdinalPrompts(RankPrompts):
    """Prompts whose rank word is a blend of base embeddings."""

    def __init__(self, ranks: int, settings: OrdinalClip, clip: Clip, text: TextTower) -> None:
        super().__init__(clip, text, settings.context, [""] * ranks, places=1)
        self.base_BD = nn.Parameter(torch.empty(settings.bases, text.width).normal_(std=0.02))
        weight_KB = blend_weights(ranks, settings.bases, settings.interpolation)
        self.register_buffer("weight_KB", weight_KB, persistent=False)

    def forward(self, text: TextTower) -> Tensor:
        """Unit vectors [K, C] of the ranks."""
        return self.encode(text, (cast(Tensor, self.weight_KB) @ self.base_BD)[:, None])


def blend_weights(ranks: int, bases: int, interpolation: str) -> Tensor:
    """Weights [K, B] of the base embeddings, from the distance d between rank and base; rows sum to 1.

    linear 1 - d / (K - 1); inverse 1 / (d + 1e-5); hat max(0, 1 - d · (B - 1) / (K - 1)).
    """
    rank_K1 = torch.arange(ranks, dtype=torch.float64)[:, None]
    distance_KB = (rank_K1 - torch.linspace(0, ranks - 1, bases, dtype=torch.float64)).abs()
    if interpolation == "linear":
        weight_KB = 1 - distance_KB / (ranks - 1)
    elif interpolation == "inverse":
        weight_KB = 1 / (distance_KB + 1e-5)
    else:
        weight_KB = (1 - distance_KB * (bases - 1) / (ranks - 1)).clamp(min=0)
    return (weight_KB / weight_KB.sum(dim=1, keepdim=True)).float()


class OrdinalClipHead(PrototypeHead):
    """OrdinalCLIP's head.

    Raises:
        UsageError: the towers do not belong together, or a prompt is too long.
    """

    def __init__(
        self, channels: Channels, ages: AgeSpace, settings: OrdinalClip, clip: Clip, text: TextTower | None
    ) -> None:
        super().__init__(channels, ages, settings.scale, text)
        if text is not None:
            self.prompts = OrdinalPrompts(len(ages), settings, clip, text)
            self._check_space()

    def prompt_vectors(self) -> Tensor:
        return cast(OrdinalPrompts, self.prompts)(self.text)

    def loss(self, out: PrototypeOutput, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of ranks given images, and KL(target ‖ images given rank), mean over the batch's ranks.

        A rank's target over images is softmax(10 · [y_i = k]).
        """
        classes_B = self.ages.classes(ages_B)
        present_P = classes_B.unique()
        own_PB = (classes_B == present_P[:, None]).float()
        log_images_PB = out.logits_BK.T[present_P].log_softmax(dim=1)
        divergence = F.kl_div(log_images_PB, (_SHARPNESS * own_PB).softmax(dim=1), reduction="batchmean")
        return summed({"ranks": F.cross_entropy(out.logits_BK, classes_B), "images": divergence})
