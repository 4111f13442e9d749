"""CILF-CIAE (arXiv 2312.01758) put together: towers, prompts, score map, FourierFormer, matching, age posterior.

    pixels -> image tower -> z, pooled            prompts -> text tower -> t
    t' = t + context of the image                 context-aware prompting
    s = <z, t'>                                   score map: the cosine of every cell with every age
    f = FourierFormer(Conv([z; s]), message)      conditioned by the text that the score map points to
    g = Linear(LN(Σ_cells a f)),  a = softmax(Conv(s))    pooled where the score map says to look
    p = softmax(<g, t> / τ + Σ_cells a s / τ' + prior)    the age posterior

The posterior is CLIP's own: an image's nearness to the prompts. There is no classifier beside it, so no part of the
method stands idle beside another that does its work. `CILF.without` takes a part away, to see what it is worth.

Judging and correcting an estimate is the corrector's task (cilf.models.corrector), which takes any posterior.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.card import Model
from cilf.models.clip import ImageTower, TextTower, build_clip, tokenizer
from cilf.models.evidence import Decode
from cilf.models.fourier import FourierBlock
from cilf.models.matching import matching_loss, score_map
from cilf.models.network import Network
from cilf.models.prompts import ImagePrompting, PromptBank
from cilf.models.system import Labels, Step

SCORE_WEIGHT = 0.4
MATCH_WEIGHT = 0.3
L1_WEIGHT = 0.3
SAME_WEIGHT = 1.0
TAUGHT_WEIGHT = 1.0
LABEL_SIGMA = 2.0  # years
RANK_SIGMA = 0.5  # ranks: whoever has put a photograph into a folder was not two folders off
LATER = Step(1, 1)
"""Any step after the first epoch."""

PARTS = ("fourierformer", "score map", "matching", "text conditioning")
"""What `CILF.without` takes away."""


@dataclass
class Output:
    """What the network says of a batch."""

    logits_BK: Tensor
    """Age classes, float32."""
    score_logits_BK: Tensor
    """Score map, pooled over the cells and divided by its temperature: what CLIP's comparison says by itself."""
    match_logits_BK: Tensor
    """Nearness of the image's vector to the prompts, divided by the temperature."""
    joint_BC: Tensor
    """The image's vector in the joint space, of unit length."""
    scale: Tensor
    """1 / τ of the matching, a scalar."""
    caption_BC: Tensor | None = None
    """Vectors of the images' captions, in training."""

    @property
    def posterior_BK(self) -> Tensor:
        """The age posterior, float32."""
        return self.logits_BK.softmax(dim=1)

    @property
    def part_posteriors(self) -> tuple[Tensor, Tensor]:
        """What the score map and the matching would say by themselves, float32 [B, K] each."""
        return self.score_logits_BK.softmax(dim=1), self.match_logits_BK.softmax(dim=1)


class CILF(Network[Output]):
    """The network.

    Args:
        spec: everything that builds it.
        deployed: build without text tower, for a checkpoint that carries the prompts' vectors.
        load_weights: read the CLIP weights that `spec` names; False where a checkpoint follows.
    """

    decode: Decode = "median"
    parts = PARTS

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
        self.register_buffer("captions_ML", None, persistent=False)
        self.register_buffer("kinds_M", None, persistent=False)
        self.prompting = ImagePrompting(channels) if spec.prompts.conditioned else None
        self.fuse = nn.Sequential(nn.Conv2d(channels + len(self.ages), channels, 1), LayerNorm2d(channels))
        self.blocks = nn.ModuleList(FourierBlock(channels, spec.fourier, grid) for _ in range(spec.fourier.depth))
        self.look = nn.Conv2d(len(self.ages), 1, 1, bias=False)
        nn.init.zeros_(self.look.weight)
        self.norm = nn.LayerNorm(channels)
        self.drop = nn.Dropout(spec.dropout)
        self.joint = nn.Linear(channels, channels)
        # One element each: FSDP takes no scalars.
        self.match_scale = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))
        self.score_scale = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))
        self.prior_K = nn.Parameter(torch.zeros(len(self.ages)))
        self.gone: frozenset[str] = frozenset()

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """Take a part of PARTS away for as long as the context lasts."""
        if part not in PARTS:
            raise ValueError(f"CILF-CIAE has the parts {', '.join(PARTS)}, not {part!r}")
        before, self.gone = self.gone, self.gone | {part}
        try:
            yield
        finally:
            self.gone = before

    def text_vectors(self) -> Tensor:
        """The prompts' unit vectors, [K, C], through the text tower."""
        if self.text is None or self.prompts is None:
            return cast(Tensor, self.text_KC)
        return self.prompts(self.text)

    def text_tower(self) -> TextTower | None:
        return self.text

    def read_captions(self, captions: Sequence[str]) -> None:
        if self.text is None or self.prompts is None:
            return
        device, prompts_PL = cast(Tensor, self.text_KC).device, cast(Tensor, self.prompts.tokens_PL)
        if not captions:
            self.text.keep_tokens(prompts_PL)
            return
        kinds = [re.sub(r"\d+( to \d+)?", "#", caption) for caption in captions]
        number = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
        self.captions_ML = tokenizer(self.spec.clip)(list(captions)).to(device)
        self.text.keep_tokens(torch.cat([tokens.flatten() for tokens in (prompts_PL, self.captions_ML)]))
        self.kinds_M = torch.tensor([number[kind] for kind in kinds], device=device)

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
        self.prior_K.sub_(weights[self.ages.youngest : self.ages.oldest + 1].log().to(self.prior_K))

    def forward(self, pixels_BCHW: Tensor, text_KC: Tensor | None = None) -> Output:
        """Normalised pixels, float [B, 3, S, S], and the prompts' vectors (default: those cached) -> Output."""
        text_KC = cast(Tensor, self.text_KC) if text_KC is None else text_KC
        map_BCHW, pooled_BC = self.image(pixels_BCHW)
        conditioned = "text conditioning" not in self.gone
        text = text_KC
        if self.prompting is not None and conditioned:
            text = self.prompting(text_KC, map_BCHW, pooled_BC)
        scores_BKHW = score_map(map_BCHW, text)
        if "score map" in self.gone:
            scores_BKHW = torch.zeros_like(scores_BKHW)
        score_scale, match_scale = _inverse_temperature(self.score_scale), _inverse_temperature(self.match_scale)
        x = self.fuse(torch.cat([map_BCHW, scores_BKHW.to(map_BCHW.dtype)], dim=1))
        if "fourierformer" not in self.gone:
            message_BC = _message(score_scale * scores_BKHW.float().mean(dim=(2, 3)), text) if conditioned else None
            for block in self.blocks:
                x = block(x, message_BC)
        cells_BN = (score_scale * self.look(scores_BKHW)).flatten(2).squeeze(1).float().softmax(dim=1)
        fused_BC = torch.einsum("bcn,bn->bc", x.flatten(2).float(), cells_BN)
        joint_BC = F.normalize(self.joint(self.drop(self.norm(fused_BC))).float(), dim=1)
        score_BK = score_scale * torch.einsum("bkn,bn->bk", scores_BKHW.flatten(2).float(), cells_BN)
        match_BK = match_scale * joint_BC @ F.normalize(text_KC.float(), dim=1).T
        logits_BK = self.prior_K.float() + score_BK
        if "matching" not in self.gone:
            logits_BK = logits_BK + match_BK
        return Output(logits_BK, score_BK, match_BK, joint_BC, match_scale)

    def training_pass(self, pixels_BCHW: Tensor, labels: Labels | None = None) -> Output:
        text_KC = self.text_vectors()
        out = self(pixels_BCHW, text_KC)
        if labels is not None:
            out.caption_BC = self._said(labels, text_KC)
        return out

    def _said(self, labels: Labels, text_KC: Tensor) -> Tensor:
        """The vector of each image's caption, [B, C]; where it has none, that of its age's prompt."""
        plain_BC = text_KC[self.ages.classes(labels.ages_B)].float()
        if self.text is None or self.captions_ML is None:
            return plain_BC
        wanted, place_B = labels.captions_B.clamp(min=0).unique(return_inverse=True)
        said_BC = F.normalize(self.text(self.captions_ML[wanted]).float(), dim=1)[place_B]
        return torch.where(labels.captions_B[:, None] < 0, plain_BC, said_BC)

    def _kinds(self, captions_B: Tensor) -> Tensor:
        """A number for what captions say but for the age, int64 [B]."""
        if self.kinds_M is None:
            return torch.zeros_like(captions_B)
        return torch.where(captions_B < 0, -1, self.kinds_M[captions_B.clamp(min=0)])

    def embedding(self, out: Output) -> Tensor:
        return out.joint_BC

    def posteriors(self, out: Output) -> tuple[Tensor, ...]:
        """The age posterior, the score map's and the matching's."""
        return out.posterior_BK, *out.part_posteriors

    def loss(self, out: Output, labels: Labels, step: Step = LATER) -> tuple[Tensor, dict[str, Tensor]]:
        """L_age(p) + 0.4 L_age(score map) + 0.3 L_match + L_taught + L_same, and its parts, detached.

        L_age is KL(q ‖ p) with label distributions q of 2 years' width (half a rank where classes have names), or, of a
        group, -log of the mass inside it; plus 0.3 times the distance of the mean from the age or group. L_same is the
        Jensen-Shannon divergence between the posteriors of a face's views; L_taught is KL(t ‖ p) with a teacher's
        posterior t, where there is one. Weights and widths are our own choice, as the paper is silent. The rows'
        weights are those of L_age and L_taught. In the first epoch the distance counts half: it is in years, and would
        drown the rest while all predictions are alike.
        """
        l1_weight = L1_WEIGHT / 2 if step.first_epoch else L1_WEIGHT
        log_BK = out.logits_BK.log_softmax(dim=1)
        parts = {
            "age": self._age_loss(log_BK, labels, l1_weight),
            "score": SCORE_WEIGHT * self._age_loss(out.score_logits_BK.log_softmax(dim=1), labels, l1_weight),
        }
        if out.caption_BC is not None:
            kinds_B = self._kinds(labels.captions_B)
            matched = matching_loss(
                out.joint_BC, out.caption_BC, labels.ages_B, kinds_B, out.scale, sigma=self.label_sigma
            )
            parts["match"] = MATCH_WEIGHT * matched
        if labels.taught_BK is not None:
            taught_B = F.kl_div(log_BK, labels.taught_BK, reduction="none").sum(dim=1)
            parts["taught"] = TAUGHT_WEIGHT * (labels.weights_B * taught_B).mean()
        if labels.views > 1:
            parts["same"] = SAME_WEIGHT * _divergence(log_BK.unflatten(0, (-1, labels.views)))
        return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}

    def _age_loss(self, log_BK: Tensor, labels: Labels, l1_weight: float) -> Tensor:
        years_K = self.ages.years(log_BK)
        low_B, high_B = self.ages.clamp(labels.low_B), self.ages.clamp(labels.high_B)
        soft_BK = self.ages.soft_labels(labels.ages_B, self.label_sigma)
        exact_B = F.kl_div(log_BK, soft_BK, reduction="none").sum(dim=1)
        inside_BK = (years_K >= low_B[:, None] - 0.5) & (years_K <= high_B[:, None] + 0.5)
        group_B = -log_BK.masked_fill(~inside_BK, -1e4).logsumexp(dim=1)
        mean_B = log_BK.exp() @ years_K
        away_B = (mean_B - mean_B.clamp(low_B, high_B)).abs()
        loss_B = torch.where(labels.low_B == labels.high_B, exact_B, group_B) + l1_weight * away_B
        return (labels.weights_B * loss_B).mean()


def _inverse_temperature(log_scale: Tensor) -> Tensor:
    """CLIP holds it below 100."""
    return log_scale.clamp(max=math.log(100)).exp().squeeze(0)


def _message(score_logits_BK: Tensor, text: Tensor) -> Tensor:
    """The text that an image's score map points to: its posterior's mean of the prompts' vectors, [B, C]."""
    message_BK = score_logits_BK.softmax(dim=1)
    return message_BK @ text.float() if text.ndim == 2 else torch.einsum("bk,bkc->bc", message_BK, text.float())


def _divergence(log_BVK: Tensor) -> Tensor:
    """Mean Jensen-Shannon divergence between the V posteriors of each face."""
    probs_BVK = log_BVK.exp()
    mean_BK = probs_BVK.mean(dim=1)
    entropy_B = -torch.special.xlogy(mean_BK, mean_BK).sum(dim=1)
    return (entropy_B + (probs_BVK * log_BVK).sum(dim=2).mean(dim=1)).mean()
