"""CILF-CIAE (arXiv 2312.01758) put together: towers, prompts, score map, FourierFormer, matching, age posterior.

    pixels -> image tower -> z, pooled        prompts -> text tower -> t
    s = <z, t>                                cosine of every cell with every age
    f = FourierFormer(Conv([z; s]), text message)
    g = Linear(LN(GAP f))                     the fused image, held to t by the matching loss
    p = softmax(MLP([GAP f; mean s / τ; g]))  the age posterior

Judging and correcting an estimate is the corrector's task (cilf.models.corrector), which takes any posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.card import Model
from cilf.models.clip import ImageTower, TextTower, build_clip
from cilf.models.evidence import Decode
from cilf.models.fourier import FourierBlock
from cilf.models.matching import matching_loss, score_map
from cilf.models.network import Network
from cilf.models.prompts import ImagePrompting, PromptBank
from cilf.models.system import Step

SCORE_WEIGHT = 0.4
MATCH_WEIGHT = 0.3
LABEL_SIGMA = 2.0  # years
RANK_SIGMA = 0.5  # ranks: whoever has put a photograph into a folder was not two folders off
LATER = Step(1, 1)
"""Any step after the first epoch."""


@dataclass
class Output:
    """What the network says of a batch."""

    logits_BK: Tensor
    """Age classes."""
    score_logits_BK: Tensor
    """Mean score map over cells, divided by the temperature: CLIP's own opinion."""
    joint_BC: Tensor
    """Fused image vector in the joint space."""
    text_KC: Tensor
    """Prompt vectors before any image has changed them."""
    scale: Tensor
    """1 / τ, a scalar."""

    @property
    def posterior_BK(self) -> Tensor:
        """The age posterior, float32."""
        return self.logits_BK.float().softmax(dim=1)

    @property
    def score_posterior_BK(self) -> Tensor:
        """CLIP's own posterior, float32."""
        return self.score_logits_BK.float().softmax(dim=1)

    @property
    def match_posterior_BK(self) -> Tensor:
        """Posterior by nearness of the fused vector to the prompts, float32."""
        return (self.scale * self.joint_BC.float() @ F.normalize(self.text_KC.float(), dim=1).T).softmax(dim=1)


class CILF(Network[Output]):
    """The network.

    Args:
        spec: everything that builds it.
        deployed: build without text tower, for a checkpoint that carries the prompts' vectors.
        load_weights: read the CLIP weights that `spec` names; False where a checkpoint follows.
    """

    decode: Decode = "median"

    def __init__(self, spec: Model, *, deployed: bool = False, load_weights: bool = True) -> None:
        super().__init__()
        self.spec = spec
        self.ages = spec.ages.space
        self.label_sigma = LABEL_SIGMA if self.ages.names is None else RANK_SIGMA
        clip = build_clip(spec.clip, spec.images.size, load_weights=load_weights)
        self.image: ImageTower = ImageTower(cast(nn.Module, clip.visual))
        with torch.no_grad():
            side = spec.images.size
            was_training = self.image.training
            map_BCHW, _ = self.image.eval()(torch.zeros(1, 3, side, side))
            self.image.train(was_training)
        channels, grid = map_BCHW.shape[1], (map_BCHW.shape[2], map_BCHW.shape[3])
        self.text = None if deployed else TextTower(clip)
        self.prompts = None if self.text is None else PromptBank(spec.prompts, spec.clip, self.ages, self.text)
        self.register_buffer("text_KC", torch.zeros(len(self.ages), channels))
        self.prompting = ImagePrompting(channels) if spec.prompts.conditioned else None
        self.fuse = nn.Sequential(nn.Conv2d(channels + len(self.ages), channels, 1), LayerNorm2d(channels))
        self.blocks = nn.ModuleList(FourierBlock(channels, spec.fourier, grid) for _ in range(spec.fourier.depth))
        self.norm = nn.LayerNorm(channels)
        self.joint = nn.Linear(channels, channels, bias=False)
        self.head = nn.Sequential(
            nn.Linear(2 * channels + len(self.ages), 2 * channels),
            nn.GELU(),
            nn.Dropout(spec.dropout),
            nn.Linear(2 * channels, len(self.ages)),
        )
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))  # one element: FSDP takes no scalars

    def text_vectors(self) -> Tensor:
        """The prompts' unit vectors, [K, C], through the text tower."""
        if self.text is None or self.prompts is None:
            return cast(Tensor, self.text_KC)
        return self.prompts(self.text)

    def text_tower(self) -> TextTower | None:
        return self.text

    @torch.no_grad()
    def cache_text(self) -> None:
        """Store the prompts' vectors, so that inference needs no text tower."""
        cast(Tensor, self.text_KC).copy_(self.text_vectors())

    @torch.no_grad()
    def unweigh(self, weights: Tensor) -> None:
        """Take back what weights of the rows by their age have done to the age posterior: p_k becomes ∝ p_k / w_k.

        To the loss, rows that count double are rows that come twice as often; but the faces to be labelled come as they
        come (prior shift, Saerens et al. 2002, equation 2.4).

        Args:
            weights: float, above 0, of each age in whole years from 0 on.
        """
        bias_K = cast(nn.Linear, self.head[-1]).bias
        bias_K.sub_(weights[self.ages.youngest : self.ages.oldest + 1].log().to(bias_K))

    def forward(self, pixels_BCHW: Tensor, text_KC: Tensor | None = None) -> Output:
        """Normalised pixels, float [B, 3, S, S], and the prompts' vectors (default: those cached) -> Output."""
        text_KC = cast(Tensor, self.text_KC) if text_KC is None else text_KC
        map_BCHW, pooled_BC = self.image(pixels_BCHW)
        # One temperature for both kinds of cosine; CLIP holds its inverse below 100.
        scale = self.log_scale.clamp(max=math.log(100)).exp().squeeze(0)
        text = text_KC if self.prompting is None else self.prompting(text_KC, map_BCHW, pooled_BC)
        scores_BKHW = score_map(map_BCHW, text)
        score_logits_BK = scale * scores_BKHW.mean(dim=(2, 3))
        message = score_logits_BK.softmax(dim=1)
        message_BC = message @ text if text.ndim == 2 else torch.einsum("bk,bkc->bc", message, text)
        x = self.fuse(torch.cat([map_BCHW, scores_BKHW.to(map_BCHW.dtype)], dim=1))
        for block in self.blocks:
            x = block(x, message_BC)
        fused_BC = self.norm(x.mean(dim=(2, 3)))
        joint_BC = F.normalize(self.joint(fused_BC), dim=-1)
        logits_BK = self.head(torch.cat([fused_BC, score_logits_BK, joint_BC], dim=1))
        return Output(logits_BK, score_logits_BK, joint_BC, text_KC, scale)

    def training_pass(self, pixels_BCHW: Tensor) -> Output:
        return self(pixels_BCHW, self.text_vectors())

    def embedding(self, out: Output) -> Tensor:
        return out.joint_BC

    def posteriors(self, out: Output) -> tuple[Tensor, ...]:
        """The head's, the score map's and the matching module's."""
        return out.posterior_BK, out.score_posterior_BK, out.match_posterior_BK

    def loss(
        self, out: Output, ages_B: Tensor, weights_B: Tensor | None = None, step: Step = LATER
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_age + 0.4 L_score + 0.3 L_match for true ages in years, [B]; also its parts, detached.

        L_age = KL(q ‖ p) + |Σ a_k p_k - y| with label distributions q of 2 years' width, of half a rank where classes
        have names; weights and widths are our own choice, as the paper is silent. `weights_B` weighs the rows of L_age
        and L_score. In the first epoch the absolute error counts half: it is in years, and would drown the rest while
        all predictions are alike.
        """
        labels_BK = self.ages.soft_labels(ages_B, self.label_sigma)
        logits_BK = out.logits_BK.float()
        kl_B = F.kl_div(logits_BK.log_softmax(dim=1), labels_BK, reduction="none").sum(dim=1)
        l1_B = (self.ages.mean(logits_BK.softmax(dim=1)) - self.ages.clamp(ages_B)).abs()
        score_B = F.cross_entropy(out.score_logits_BK.float(), labels_BK, reduction="none")
        if weights_B is not None:
            kl_B, l1_B, score_B = weights_B * kl_B, weights_B * l1_B, weights_B * score_B
        match = matching_loss(out.joint_BC.float(), out.text_KC.float(), ages_B, out.scale, self.ages, self.label_sigma)
        parts = {"kl": kl_B.mean(), "l1": l1_B.mean(), "score": score_B.mean(), "match": match}
        l1_weight = 0.5 if step.first_epoch else 1.0
        total = parts["kl"] + l1_weight * parts["l1"] + SCORE_WEIGHT * parts["score"] + MATCH_WEIGHT * match
        return total, {name: part.detach() for name, part in parts.items()}
