"""Heads whose classes are text vectors: the common base of OrdinalCLIP, L2RCLIP and plain CLIP.

logits = ⟨v, t_k⟩ / τ, with the image's vector v and a prompt's t_k of unit length in CLIP's joint space. The text tower
and τ are frozen, and the prompts are trained. After training the tower can be dropped, which leaves a plain head.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip
from cilf.errors import UsageError
from cilf.models.clip import TextTower, tokenizer
from cilf.models.system import Channels, Decoded, Features, System, expectation


@dataclass
class PrototypeOutput:
    """The output of a PrototypeHead."""

    logits_BK: Tensor
    """Cosines of images and ranks, divided by the temperature."""
    image_BC: Tensor
    """Unit vectors, float32."""
    text_KC: Tensor
    """Unit vectors, float32."""


class RankPrompts(nn.Module):
    """Token sequences for the sentences of K ranks: start, context, the rank's name, a full stop, end.

    Args:
        clip: the CLIP whose tokenizer is used.
        text: the tower, to embed the words.
        context: text that the learned context is initialised from.
        names: a text for each rank, or "" if `places` reserves room for learned vectors instead.
        places: number of tokens to reserve between context and name.

    Raises:
        UsageError: the tower takes no context, or the sentences are too long for it.
    """

    def __init__(self, clip: Clip, text: TextTower, context: str, names: list[str], places: int = 0) -> None:
        super().__init__()
        if not text.takes_context:
            raise UsageError("learned prompts need a causal text tower that pools at the end of text")
        tokenize = tokenizer(clip)
        # Strip the start and end tokens that surround every text.
        context_L = tokenize([context])[0]
        context_M = context_L[1 : _end(context_L)]
        name_KL = tokenize([f"{name} ." for name in names])
        self.words_K = [_end(tokens_L) - 2 for tokens_L in name_KL]  # without full stop and start
        # The ids at learned vectors' positions are never embedded; 1 is below every end-of-text id.
        room = name_KL.new_ones(len(names), len(context_M) + places)
        longest = max(self.words_K) + 3 + room.shape[1]
        if longest > text.context_length:
            raise UsageError(
                f"prompts of {longest} tokens exceed the text tower's {text.context_length}; shorten the context of "
                f"{len(context_M)} or the ranks' names"
            )
        tokens_KL = torch.cat([name_KL[:, :1], room, name_KL[:, 1:]], dim=1)[:, : text.context_length]
        self.register_buffer("tokens_KL", tokens_KL, persistent=False)
        with torch.no_grad():
            self.context_MD = nn.Parameter(text.token_embedding(context_M.to(text.positional_embedding.device)).clone())

    def encode(self, text: TextTower, rank_KTD: Tensor) -> Tensor:
        """Unit vectors [K, C] of the sentences, with the vectors [K, T, D] inserted after the context."""
        context_KMD = self.context_MD.expand(len(rank_KTD), -1, -1)
        vectors_KC = text(self.tokens_KL, torch.cat([context_KMD, rank_KTD], dim=1))
        return F.normalize(vectors_KC.float(), dim=-1)


class PrototypeHead(System[PrototypeOutput]):
    """Logits from the cosines with K prompts.

    Args:
        channels: the backbone's channels; pooled features must be in the text tower's joint space.
        ages: the classes.
        scale: 1 / τ, fixed.
        text: the text tower, which is frozen here; None for a trained head, which loads its prompts' vectors.

    Raises:
        UsageError: as in RankPrompts.
    """

    def __init__(self, channels: Channels, ages: AgeSpace, scale: float, text: TextTower | None) -> None:
        super().__init__(ages)
        self.scale = scale
        self.text = None if text is None else text.requires_grad_(False)
        self.prompts: nn.Module | None = None
        self.register_buffer("text_KC", torch.zeros(len(ages), channels.pooled))

    @abstractmethod
    def prompt_vectors(self) -> Tensor:
        """Unit vectors [K, C] of the prompts, computed by the text tower."""

    def _check_space(self) -> None:
        """Raise UsageError if images and prompts have vectors of different size."""
        with torch.no_grad():
            found = self.prompt_vectors().shape[1]
        wanted = cast(Tensor, self.text_KC).shape[1]
        if found != wanted:
            raise UsageError(
                f"the backbone's pooled features have {wanted} channels, but the text tower's vectors have {found}; "
                "use both towers of the same CLIP"
            )

    def forward(self, features: Features) -> PrototypeOutput:
        text_KC = cast(Tensor, self.text_KC) if self.text is None else self.prompt_vectors()
        image_BC = F.normalize(features.pooled_BC.float(), dim=1)
        return PrototypeOutput(self.scale * image_BC @ text_KC.T, image_BC, text_KC)

    @torch.no_grad()
    def freeze_text(self) -> None:
        """Store the prompts' vectors, then drop prompts and text tower; ends training of the text side."""
        if self.text is not None:
            cast(Tensor, self.text_KC).copy_(self.prompt_vectors())
            self.text = self.prompts = None

    def decode(self, out: PrototypeOutput) -> Decoded:
        return expectation(self.ages, out.logits_BK)


def _end(tokens_L: Tensor) -> int:
    """Position of the end-of-text token, whose id is the largest."""
    return int(tokens_L.argmax())
