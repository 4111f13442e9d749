"""MiVOLO (Kuprashevich & Tolstykh, arXiv 2307.04616): age and sex from the face, and from the body if there is one.

Each crop has its own stem; in a feature enhancer the two attend to each other and are merged into one map, which goes
through VOLO (arXiv 2106.13112) like that of a single image. The training code is not public. Ours: an absolute error on
normalised ages, where the paper weighs squared errors; a tenth of the cross-entropy of the sex; and how often a crop is
hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.layers import RelPosBias
from timm.models.volo import VOLO, PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Images
from cilf.errors import UsageError
from cilf.models.settings import MiVolo
from cilf.models.system import Channels, Decoded, Features, Step, System, summed

SEX_WEIGHT = 0.1
UNKNOWN_SEX = -1
BODY_HIDDEN, FACE_HIDDEN = 0.3, 0.1  # shares of training rows


class FaceBody(nn.Module):
    """The backbone, for faces alone or for faces and bodies.

    Args:
        settings: the network's settings.
        images: size, normalisation and channels of its input.

    Raises:
        UsageError: the image size is not a multiple of 16.
    """

    def __init__(self, settings: MiVolo, images: Images) -> None:
        super().__init__()
        size = images.size
        if size % 16:
            raise UsageError(f"mivolo takes images whose side is a multiple of 16 pixels, not {size}")
        first, later = settings.widths
        heads = [settings.heads[0], *3 * [settings.heads[1]]]
        widths = [first, later, later, later]
        self.trunk = VOLO(list(settings.layers), size, num_classes=0, embed_dims=widths, num_heads=heads)
        self.face_stem: nn.Module = self.trunk.patch_embed
        del self.trunk.patch_embed
        self.body_stem: nn.Module | None = None
        if images.body:
            self.body_stem = PatchEmbed(stem_conv=True, stem_stride=2, embed_dim=first)
            self.enhance = Enhancer(first, size // 8)
            self.register_buffer("black", -torch.tensor(images.mean) / torch.tensor(images.std), persistent=False)
            self.black: Tensor
        self.channels = Channels(pooled=later, map=later)

    def forward(self, pixels_BCHW: Tensor) -> Features:
        """Normalised pixels of faces, [B, 3, S, S], or of faces and then their bodies, [B, 6, S, S] -> the class token
        and the map of the other tokens. A hidden face or body is black."""
        if self.body_stem is None:
            x_BCHW = self.face_stem(pixels_BCHW)
        else:
            face_BCHW, body_BCHW = pixels_BCHW.split(3, dim=1)
            if self.training:
                face_BCHW, body_BCHW = hide_one(face_BCHW, body_BCHW, self.black)
            x_BCHW = self.enhance(self.face_stem(face_BCHW), self.body_stem(body_BCHW))
        tokens_BND = self.trunk.forward_tokens(x_BCHW.permute(0, 2, 3, 1))
        tokens_BND = self.trunk.norm(self.trunk.forward_cls(tokens_BND))
        side = x_BCHW.shape[2] // 2
        return Features(tokens_BND[:, 0], tokens_BND[:, 1:].transpose(1, 2).unflatten(2, (side, side)))

    def load_volo(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights of timm's VOLO of the same architecture; both stems get those of its single stem.

        Raises:
            UsageError: the weights are of another architecture or size.
        """
        stem = {key.removeprefix("patch_embed."): value for key, value in weights.items() if "patch_embed." in key}
        heads = ("patch_embed.", "head.", "aux_head.")
        trunk = {key: value for key, value in weights.items() if not key.startswith(heads)}
        try:
            self.trunk.load_state_dict(trunk)
            for part in (self.face_stem, self.body_stem):
                if part is not None:
                    part.load_state_dict(stem)
        except RuntimeError as error:
            problem = " ".join(str(error).split())[:300]
            raise UsageError(f"the weights do not fit the VOLO that the settings describe: {problem}") from error


class Enhancer(nn.Module):
    """Feature enhancer: face and body attend to each other, and are merged into one map.

    o_f = softmax(q_f k_bᵀ / √d + rel) v_b, likewise for the body; then [o_f; o_b] through LayerNorm and an MLP.

    Args:
        width: channels d of each input map and of the output map.
        side: side of the maps, cells.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.face_qkv, self.body_qkv = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, 3 * width, 1)
        self.face_bias, self.body_bias = RelPosBias((side, side), 1), RelPosBias((side, side), 1)
        self.norm = nn.LayerNorm([2 * width, side, side])
        self.mlp = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))

    def forward(self, face_BCHW: Tensor, body_BCHW: Tensor) -> Tensor:
        """Two maps [B, C, H, H] -> one map [B, C, H, H]."""
        face_q, face_k, face_v = _tokens(self.face_qkv(face_BCHW))
        body_q, body_k, body_v = _tokens(self.body_qkv(body_BCHW))

        def attend(q: Tensor, k: Tensor, v: Tensor, bias: RelPosBias) -> Tensor:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.get_bias().to(q.dtype))
            return mixed.squeeze(1).transpose(1, 2).unflatten(2, tuple(face_BCHW.shape[2:]))

        of_face = attend(face_q, body_k, body_v, self.face_bias)
        of_body = attend(body_q, face_k, face_v, self.body_bias)
        return self.mlp(self.norm(torch.cat([of_face, of_body], dim=1)))


def _tokens(qkv_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a single head, [B, 1, N, D] each."""
    q, k, v = qkv_BCHW.flatten(2).transpose(1, 2)[:, None].chunk(3, dim=3)
    return q, k, v


def hide_one(face_BCHW: Tensor, body_BCHW: Tensor, black_C: Tensor) -> tuple[Tensor, Tensor]:
    """Blacken some rows' bodies and some other rows' faces in training, so that either may be missing at inference.

    Args:
        face_BCHW: normalised pixels.
        body_BCHW: normalised pixels.
        black_C: black, normalised.
    """
    draw_B111 = torch.rand(len(face_BCHW), 1, 1, 1, device=face_BCHW.device)
    black_C11 = black_C[:, None, None].to(face_BCHW)
    no_body, no_face = draw_B111 < BODY_HIDDEN, draw_B111 > 1 - FACE_HIDDEN
    return torch.where(no_face, black_C11, face_BCHW), torch.where(no_body, black_C11, body_BCHW)


class MiVoloHead(System[Tensor]):
    """VOLO's head(token) + ½ max over cells; `out` is two logits of sex (male, female) and a normalised age, [B, 3]."""

    def __init__(self, channels: Channels, ages: AgeSpace, settings: MiVolo) -> None:
        super().__init__(ages)
        self.head = nn.Linear(channels.pooled, 3)
        self.cells = nn.Linear(channels.map, 3)
        self.span, self.middle = ages.oldest - ages.youngest, (ages.oldest + ages.youngest) / 2

    def forward(self, features: Features) -> Tensor:
        of_cells_BN3 = self.cells(features.map_BCHW.flatten(2).transpose(1, 2))
        return self.head(features.pooled_BC) + 0.5 * of_cells_BN3.amax(dim=1)

    def loss(
        self, out: Tensor, ages_B: Tensor, step: Step, sexes_B: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error of normalised ages, and 0.1 of the cross-entropy of the sexes that are known.

        Args:
            out: output of `forward`.
            ages_B: true ages, years.
            step: unused.
            sexes_B: int64, 0 male, 1 female, -1 unknown; None if all are unknown.
        """
        out = out.float()
        parts = {"l1": F.l1_loss(out[:, 2], (self.ages.clamp(ages_B) - self.middle) / self.span)}
        if sexes_B is not None:
            # Summed over the known sexes, then divided: a mean over none of them would be NaN.
            known = (sexes_B != UNKNOWN_SEX).sum().clamp(min=1)
            entropy = F.cross_entropy(out[:, :2], sexes_B, ignore_index=UNKNOWN_SEX, reduction="sum")
            parts["sex"] = SEX_WEIGHT * entropy / known
        return summed(parts)

    def decode(self, out: Tensor) -> Decoded:
        """age = x · (oldest - youngest) + (oldest + youngest) / 2."""
        return Decoded(self.ages.clamp(out[:, 2].float() * self.span + self.middle), None)
