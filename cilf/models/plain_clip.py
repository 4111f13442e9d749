"""Plain CLIP (Radford et al., ICML 2021, arXiv 2103.00020): only its towers, prompts and temperature.

p = softmax(⟨v, t_k⟩ / τ) over the classes' prompts, with the image's pooled vector v and the prompts' mean t_k of unit
length, and CLIP's own τ. Without training (`epochs: 0`) this is zero-shot CLIP: all its numbers come from the weights.
With training, the image tower is trained by cross-entropy; learned context is CoOp (arXiv 2109.01134).
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip, Prompts
from cilf.errors import UsageError
from cilf.models.clip import TextTower
from cilf.models.prompts import PromptBank
from cilf.models.prototypes import PrototypeHead, PrototypeOutput
from cilf.models.system import Channels, Features, Step, summed


class PlainClipHead(PrototypeHead):
    """Plain CLIP's head.

    Raises:
        UsageError: the towers do not belong together, or the prompts are conditioned on the image.
    """

    def __init__(
        self, channels: Channels, ages: AgeSpace, prompts: Prompts, clip: Clip, text: TextTower | None
    ) -> None:
        super().__init__(channels, ages, 1.0, text)
        if prompts.conditioned:
            raise UsageError(
                "prompts.conditioned works for CILF-CIAE only: set it to false, because the system `clip` cannot use it"
            )
        # Stored with the weights, because the text tower that holds it is dropped.
        self.register_buffer("inverse_temperature", torch.tensor(1.0 if text is None else text.inverse_temperature))
        if text is not None:
            self.prompts = PromptBank(prompts, clip, ages, text)
            self._check_space()

    def prompt_vectors(self) -> Tensor:
        return cast(PromptBank, self.prompts)(cast(TextTower, self.text)).float()

    def forward(self, features: Features) -> PrototypeOutput:
        out = super().forward(features)
        return replace(out, logits_BK=cast(Tensor, self.inverse_temperature) * out.logits_BK.float())

    def loss(self, out: PrototypeOutput, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of classes given images."""
        return summed({"ranks": F.cross_entropy(out.logits_BK, self.ages.classes(ages_B))})
