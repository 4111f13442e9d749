"""Age prompts: a bank of templates averaged in text space, learned context, and prompts conditioned on the image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip, Prompts
from cilf.models.clip import TextTower, tokenizer

_BELOW_TWENTY = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(age: int) -> str:
    """An age from 0 to 199 as English words, e.g. 42 -> "forty two"."""
    if age >= 100:
        return "one hundred" + (f" {in_words(age - 100)}" if age > 100 else "")
    if age < 20:
        return _BELOW_TWENTY[age]
    return _TENS[age // 10 - 2] + (f" {_BELOW_TWENTY[age % 10]}" if age % 10 else "")


def class_names(ages: AgeSpace, numbers: Literal["digits", "words"]) -> list[str]:
    """The text for each class in a sentence: its name, or its age in digits or in words."""
    if ages.names is not None:
        return list(ages.names)
    spell = in_words if numbers == "words" else str
    return [spell(age) for age in range(ages.youngest, ages.oldest + 1)]


class PromptBank(nn.Module):
    """Prompts for every age: K vectors, each the normalised mean of its T templates' normalised vectors.

    With `context` M > 0, M learned vectors precede the words (CoOp, arXiv 2109.01134), shared by all ages.
    """

    def __init__(self, spec: Prompts, clip: Clip, ages: AgeSpace, text: TextTower) -> None:
        super().__init__()
        sentences = [
            template.replace("{age}", name) for name in class_names(ages, spec.numbers) for template in spec.templates
        ]
        tokens_PL = tokenizer(clip)(sentences)
        if spec.context:
            if not text.takes_context:
                raise ValueError("prompts.context needs a causal text tower that pools at the end of text")
            # The ids at the context's positions are never embedded; 1 is below every end-of-text id.
            places = tokens_PL.new_ones(len(tokens_PL), spec.context)
            longest = int(tokens_PL.argmax(dim=1).max()) + 1 + spec.context
            if longest > text.context_length:
                raise ValueError(
                    f"prompts of {longest} tokens, {spec.context} of them context, exceed the text tower's "
                    f"{text.context_length}"
                )
            tokens_PL = torch.cat([tokens_PL[:, :1], places, tokens_PL[:, 1:]], dim=1)
            tokens_PL = tokens_PL[:, : text.context_length]
        self.templates = len(spec.templates)
        self.register_buffer("tokens_PL", tokens_PL, persistent=False)
        self.context_MD = (
            nn.Parameter(torch.empty(spec.context, text.width).normal_(std=0.02)) if spec.context else None
        )

    def forward(self, text: TextTower) -> Tensor:
        """Unit text vectors of the ages, [K, C]."""
        vectors_PC = F.normalize(text(self.tokens_PL, self.context_MD), dim=-1)
        return F.normalize(vectors_PC.unflatten(0, (-1, self.templates)).mean(dim=1), dim=-1)


class ImagePrompting(nn.Module):
    """Post-model context-aware prompting (DenseCLIP, arXiv 2112.01518, eq. 3-4).

    v = Decoder(queries = t, memory = [pooled; z_1 .. z_N]);  t_b = t + γ ⊙ v_b, with γ starting at 0.1. One layer of
    width 128 with four heads: the three published layers of width 256 cost more than a small model's image tower.
    """

    def __init__(self, channels: int, width: int = 128, layers: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.text_in = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.memory_in = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.LayerNorm(width))
        layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))
        self.gamma = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, text_KC: Tensor, map_BCHW: Tensor, pooled_BC: Tensor) -> Tensor:
        """Text vectors [K, C], conditioned on each image -> [B, K, C], not normalised."""
        memory_BNC = torch.cat([pooled_BC[:, None], map_BCHW.flatten(2).transpose(1, 2)], dim=1)
        queries_BKW = self.text_in(text_KC).expand(len(pooled_BC), -1, -1)
        return text_KC + self.gamma * self.out(self.decoder(queries_BKW, self.memory_in(memory_BNC)))
