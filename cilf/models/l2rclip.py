"""L2RCLIP (Wang et al., NeurIPS 2023, arXiv 2306.13856): ranks attend to each other, pairs order both modalities.

RankFormer refines the words that name the ranks, together; the cross-modal ordinal pairwise loss draws each image to
its own rank's prompt and pushes prompts from it the more, the further off their rank. Text side first, then the image
side. The RankFormer is our reconstruction from the paper's description, as the published code holds losses only, and
so are its depth, heads and start: Ê = E + α · Proj(H) with Proj = 0 and α = 0.1, that is, at the words as CLIP knows
them. Vectors are of unit length here, since distances that a loss wants large must have an end.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.ages import AgeSpace
from cilf.card import Clip
from cilf.errors import UsageError
from cilf.models.clip import TextTower
from cilf.models.prompts import class_names
from cilf.models.prototypes import PrototypeHead, PrototypeOutput, RankPrompts
from cilf.models.settings import L2rClip
from cilf.models.system import Channels, Step, summed

_WORDS_END = 199  # in_words goes no further


class RankFormer(nn.Module):
    """Attention over the ranks, separately at each place of their words.

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
        """Word embeddings [K, T, D], and bool [K, T] where a rank has no word at that place -> refined ones."""
        hidden_TKD = self.layers(words_KTD.transpose(0, 1), src_key_padding_mask=absent_KT.T)
        return words_KTD + self.alpha * self.project(hidden_TKD).transpose(0, 1)


class RankedPrompts(RankPrompts):
    """Prompts whose rank words RankFormer has seen."""

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
        # After a short name come the full stop and the end, which stay as they are.
        return self.encode(text, torch.where(absent_KT[:, :, None], words_KTD, refined_KTD))


class L2rClipHead(PrototypeHead):
    """Raises UsageError for towers that do not belong together, prompts too long, or names that are not the ranks'."""

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

        In the first stage nothing flows back into the image side, and in the second nothing into the text side. Where
        the prompts are done, there is no first stage.
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
    # Where all are of one rank, no pair has an order: weights of 0.
    distance = difference.abs().float()
    return (distance - distance.min()) / distance.max().clamp(min=1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # A square root has no gradient at 0.
    return (a - b).square().sum(dim=-1).clamp(min=1e-12).sqrt()


def rank_names(ages: AgeSpace, words: tuple[str, ...] | None) -> list[str]:
    """What each class is called: by the words given, by its own name, or by its number in English words.

    Raises:
        UsageError: more or fewer names than classes, or numbers beyond 199.
    """
    if words is not None:
        if len(words) != len(ages) or not all(word.strip() for word in words):
            raise UsageError(f"`words` are to name {len(ages)} ranks, got {len(words)}: {', '.join(words)}")
        return list(words)
    if ages.names is None and ages.oldest > _WORDS_END:
        raise UsageError(f"numbers above {_WORDS_END} have no words here, got {ages.oldest}; set `words`")
    return class_names(ages, "words")
