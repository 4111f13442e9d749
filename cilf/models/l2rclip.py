"""L2RCLIP (Wang et al., NeurIPS 2023, arXiv 2306.13856): ranks attend to each other, pairs order both modalities.

RankFormer refines the words that name the ranks jointly. The cross-modal ordinal pairwise loss pulls each image to its
own rank's prompt and pushes other prompts away, the more the further off their rank is. The text side is trained first,
then the image side. The RankFormer is our reconstruction from the paper's description, because the published code holds
losses only. So are its depth, heads and initial values: Ê = E + α · Proj(H) with Proj = 0 and α = 0.1, that is, CLIP's
own words. Vectors have unit length here, because distances that a loss maximises must be bounded.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip
from cilf.errors import UsageError
from cilf.models.clip import TextTower
from cilf.models.prompts import class_names
from cilf.models.prototypes import PrototypeHead, PrototypeOutput, RankPrompts
from cilf.models.settings import L2rClip
from cilf.models.system import Channels, Step, summed

_WORDS_END = 199  # the largest number that in_words supports


class RankFormer(nn.Module):
    """Attention over the ranks, separately at each position of their words.

    H' = E + MSA(LN E);  H = H' + FFN(LN H');  Ê = E + α · Proj(H)
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.project = nn.Linear(width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.alpha = nn.Parameter(torch.tensor([0.1]))  # one element: FSDP takes no scalars

    def forward(self, words_KTD: Tensor, absent_KT: Tensor) -> Tensor:
        """Word embeddings [K, T, D], and bool [K, T], True where a rank has no word -> refined embeddings [K, T, D]."""
        hidden_TKD = self.layers(words_KTD.transpose(0, 1), src_key_padding_mask=absent_KT.T)
        return words_KTD + self.alpha * self.project(hidden_TKD).transpose(0, 1)


class RankedPrompts(RankPrompts):
    """Prompts whose rank words are refined by RankFormer."""

    def __init__(self, names: list[str], settings: L2rClip, clip: Clip, text: TextTower) -> None:
        super().__init__(clip, text, settings.context, names)
        if text.width % settings.heads:
            raise UsageError(f"the text tower's width {text.width} does not divide into {settings.heads} heads")
        self.former = RankFormer(text.width, settings.depth, settings.heads)
        words_K1 = torch.tensor(self.words_K)[:, None]
        self.register_buffer("absent_KT", torch.arange(max(self.words_K)) >= words_K1, persistent=False)

    def forward(self, text: TextTower) -> Tensor:
        """Unit vectors [K, C] of the ranks."""
        absent_KT = cast(Tensor, self.absent_KT)
        first = 1 + len(self.context_MD)
        token_KT = cast(Tensor, self.tokens_KL)[:, first : first + absent_KT.shape[1]]
        words_KTD = text.token_embedding(token_KT)
        refined_KTD = self.former(words_KTD, absent_KT)
        # The full stop and the end that follow a short name stay unchanged.
        return self.encode(text, torch.where(absent_KT[:, :, None], words_KTD, refined_KTD))


class L2rClipHead(PrototypeHead):
    """L2RCLIP's head.

    Raises:
        UsageError: the towers do not belong together, a prompt is too long, or the names do not fit the ranks.
    """

    rests = True

    def __init__(
        self, channels: Channels, ages: AgeSpace, settings: L2rClip, clip: Clip, text: TextTower | None
    ) -> None:
        super().__init__(channels, ages, settings.scale, text)
        self.settings = settings
        if text is not None:
            self.prompts = RankedPrompts(rank_names(ages, settings.words), settings, clip, text)
            self._check_space()

    def prompt_vectors(self) -> Tensor:
        return cast(RankedPrompts, self.prompts)(self.text)

    def loss(self, out: PrototypeOutput, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of ranks given images + 0.1 · the pairwise loss of the stage.

        In the first stage the image side gets no gradient, and in the second the text side gets none. There is no first
        stage once the prompts are frozen.
        """
        first = self.text is not None and step.progress < self.settings.first_stage
        image_BC = out.image_BC.detach() if first else out.image_BC
        text_KC = out.text_KC if first else out.text_KC.detach()
        classes_B = self.ages.classes(ages_B)
        pairs = batch_pairs(image_BC, text_KC, classes_B) if first else rank_pairs(image_BC, text_KC, classes_B)
        entropy = F.cross_entropy(self.scale * image_BC @ text_KC.T, classes_B)
        return summed({"ranks": entropy, "pairs": self.settings.pair_weight * pairs})


def batch_pairs(image_BC: Tensor, text_KC: Tensor, classes_B: Tensor) -> Tensor:
    """The first stage's pairwise loss, over pairs i < j of a batch with D the Euclidean distance.

    -mean w_ij D(v_i, t_yj) - ½ mean w_ij D(t_yi, t_yj) + ½ mean_i ‖v_i - t_yi‖²,  w_ij = (|y_i - y_j| - min) / max
    """
    own_BC = text_KC[classes_B]
    near = 0.5 * (image_BC - own_BC).square().sum(dim=1).mean()
    i, j = torch.triu_indices(len(classes_B), len(classes_B), offset=1, device=classes_B.device)
    if not len(i):
        return near
    weight_P = _ordinal_weights(classes_B[i] - classes_B[j])
    across_P, within_P = _distance(image_BC[i], own_BC[j]), _distance(own_BC[i], own_BC[j])
    return near - (weight_P * across_P).mean() - 0.5 * (weight_P * within_P).mean()


def rank_pairs(image_BC: Tensor, text_KC: Tensor, classes_B: Tensor) -> Tensor:
    """The second stage's pairwise loss, over all images and ranks.

    mean_i ‖v_i - t_yi‖² - mean_ij w_ij D(v_i, t_j),  w_ij = (|y_i - a_j| - min) / max
    """
    near = (image_BC - text_KC[classes_B]).square().sum(dim=1).mean()
    weight_BK = _ordinal_weights(classes_B[:, None] - torch.arange(len(text_KC), device=classes_B.device))
    return near - (weight_BK * _distance(image_BC[:, None], text_KC)).mean()


def _ordinal_weights(difference: Tensor) -> Tensor:
    # If all rows have the same rank, no pair has an order, and all weights are 0.
    distance = difference.abs().float()
    return (distance - distance.min()) / distance.max().clamp(min=1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # A square root has no gradient at 0.
    return (a - b).square().sum(dim=-1).clamp(min=1e-12).sqrt()


def rank_names(ages: AgeSpace, words: tuple[str, ...] | None) -> list[str]:
    """The name of each class: from `words`, its own name, or its number in English words.

    Raises:
        UsageError: the number of names is not that of the classes, a name is empty, or a number is above 199.
    """
    if words is not None:
        if len(words) != len(ages) or not all(word.strip() for word in words):
            raise UsageError(f"`words` must name {len(ages)} ranks, got {len(words)}: {', '.join(words)}")
        return list(words)
    if ages.names is None and ages.oldest > _WORDS_END:
        raise UsageError(f"numbers above {_WORDS_END} cannot be written in words, got {ages.oldest}; set `words`")
    return class_names(ages, "words")
