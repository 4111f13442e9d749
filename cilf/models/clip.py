"""open_clip towers: normalised pixels -> dense map and pooled vector; token ids -> text vectors.

All outputs are in CLIP's joint space, so that any location of the map can be compared with any text
(the pixel-text score maps of DenseCLIP, arXiv 2112.01518).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer, text_global_pool
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.card import Clip
from cilf.errors import UsageError
from cilf.models.system import Features


class WeightsError(UsageError):
    """CLIP weights are not available, or do not fit the architecture."""


def build_clip(spec: Clip, image_size: int, *, load_weights: bool = True) -> nn.Module:
    """The open_clip model that `spec` names, for square inputs of `image_size` pixels, in float32.

    Args:
        spec: architecture and weights.
        image_size: side of the input, pixels; position embeddings are resampled to it.
        load_weights: False builds the architecture alone, for a complete CILF checkpoint to be loaded afterwards.

    Raises:
        WeightsError: an unknown architecture, or weights that cannot be downloaded, read or matched.
    """
    weights = spec.weights if load_weights else None
    if isinstance(spec.architecture, dict):
        model = _build_custom(spec.architecture, weights, image_size)
        if spec.stages is not None:
            model.visual = FirstStages(cast(nn.Module, model.visual), spec.architecture["embed_dim"], spec.stages)
        return model
    name = spec.architecture
    if open_clip.get_model_config(name) is None:
        raise WeightsError(f"open_clip has no architecture {name!r}; open_clip.list_models() lists those it has")
    if weights is None or open_clip.get_pretrained_cfg(name, weights):
        try:
            return open_clip.create_model(name, pretrained=weights, force_image_size=image_size)
        except Exception as error:
            raise WeightsError(
                f"the weights {weights!r} of {name} could not be downloaded ({_first_line(error)}). "
                "Without network access, download them on another machine and set clip.weights to the file"
            ) from error
    path = Path(weights)
    if not path.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise WeightsError(f"clip.weights {weights!r} is neither a file nor a tag of {name} (tags: {tags})")
    # OpenAI trained with QuickGELU. Its files can be recognised by three numbers that they hold besides the weights.
    state = _read_state(path)
    openai_layout = bool(_OPENAI_MARKS & state.keys())
    model = open_clip.create_model(name, force_image_size=image_size, force_quick_gelu=openai_layout)
    return _load_state(model, {key: state[key] for key in state.keys() - _OPENAI_MARKS}, path)


_OPENAI_MARKS = {"input_resolution", "context_length", "vocab_size"}


def _build_custom(architecture: dict[str, Any], weights: str | None, image_size: int) -> nn.Module:
    config = {key: value for key, value in architecture.items() if key != "custom_text"}
    config["vision_cfg"] = {**config["vision_cfg"], "image_size": image_size}
    kind = open_clip.CustomTextCLIP if architecture.get("custom_text") else open_clip.CLIP
    try:
        model = kind(**config)
    except (TypeError, RuntimeError) as error:
        raise WeightsError(f"clip.architecture does not build: {_first_line(error)}") from error
    if weights is None:
        return model
    if not Path(weights).is_file():
        raise WeightsError(f"clip.weights {weights!r} is not a file, and a custom architecture has no tags")
    return _load_state(model, _read_state(Path(weights)), Path(weights))


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path} is unsafe to read or holds no weights: {_first_line(error)}. Nothing is ever unpickled: give a "
            "safetensors file, or a state dict that torch.load reads with weights_only=True"
        ) from error
    state = state.get("state_dict", state)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _load_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        state = convert_state_dict(model, state)
        if isinstance(model, open_clip.CustomTextCLIP) and "positional_embedding" in state:
            state = convert_to_custom_text_state_dict(state)
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
        model.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} does not fit the architecture: {_first_line(error)}") from error
    return model


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


class FirstStages(nn.Module):
    """The first stages of an image tower with a convolutional timm trunk; the layers after it replace the other stages.

    Args:
        visual: the whole tower.
        embed_dim: channels of the joint space.
        stages: number of stages to keep.

    Raises:
        WeightsError: the trunk is of another kind or has fewer stages.
    """

    def __init__(self, visual: nn.Module, embed_dim: int, stages: int) -> None:
        super().__init__()
        self.trunk = cast(Any, getattr(visual, "trunk", None))
        channels = [stage["num_chs"] for stage in getattr(self.trunk, "feature_info", [])]
        if not hasattr(self.trunk, "prune_intermediate_layers") or stages > len(channels):
            raise WeightsError(
                f"clip.stages: cannot keep {stages} of {len(channels)} stages; "
                "use a convolutional timm trunk that has as many"
            )
        self.trunk.prune_intermediate_layers([stages - 1], prune_norm=True, prune_head=True)
        self.stages = list(range(stages))[-4:]
        self.proj = nn.Conv2d(channels[stages - 1], embed_dim, 1)

    def forward(self, pixels_BCHW: Tensor) -> Features:
        """Same as `ImageTower.features`; the pooled vector is the mean over the map."""
        levels = self.trunk.forward_intermediates(pixels_BCHW, self.stages, intermediates_only=True)
        map_BCHW = self.proj(levels[-1])
        return Features(map_BCHW.mean(dim=(2, 3)), map_BCHW, tuple(levels))


class ImageTower(nn.Module):
    """An open_clip image tower that also returns its map, with every location projected into the joint space.

    A location is projected by the tower's own pooling, applied as if the image consisted of that location alone; for
    average pooling this is the projection itself, for attention pooling its value path (MaskCLIP, arXiv 2112.01071).
    The ResNet of CLIP is the exception: there, as in DenseCLIP, every location attends to all.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        if not isinstance(visual, VisionTransformer | ModifiedResNet | TimmModel | FirstStages):
            raise WeightsError(f"image towers of type {type(visual).__name__} are not supported")
        self.visual = visual

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels, float [B, 3, S, S] -> dense map [B, C, H, W] and pooled vector [B, C].

        The pooled vector is what open_clip's `encode_image` returns.
        """
        features = self.features(pixels_BCHW)
        return features.map_BCHW, features.pooled_BC

    def features(self, pixels_BCHW: Tensor, levels: bool = False) -> Features:
        """The outputs of `forward` as Features; with `levels` also the maps of four of the tower's stages, unprojected.

        If the tower's maps shrink, these are its last four stages; if its grid stays the same, they are the layers at
        each quarter of the tower.
        """
        if isinstance(self.visual, FirstStages):
            return self.visual(pixels_BCHW)
        if isinstance(self.visual, ModifiedResNet):
            return self._resnet(self.visual, pixels_BCHW, levels)
        if isinstance(self.visual, VisionTransformer):
            return self._vit(self.visual, pixels_BCHW, levels)
        return self._timm(self.visual, pixels_BCHW, levels)

    @staticmethod
    def _vit(visual: VisionTransformer, pixels_BCHW: Tensor, levels: bool) -> Features:
        height, width = visual.grid_size
        x_BND, seen = visual._embeds(pixels_BCHW), []
        if levels:
            layers = visual.transformer.layers
            x_BND, seen = visual.transformer.forward_intermediates(x_BND, indices=_quarters(layers))
        else:
            x_BND = visual.transformer(x_BND)

        def project(x: Tensor) -> Tensor:
            pooled, _ = visual._pool(x)
            return pooled if visual.proj is None else pooled @ visual.proj

        tokens_BND = x_BND[:, -height * width :]
        # Class token and patch are both this one location, so every kind of pooling returns it.
        alone_M2D = tokens_BND.reshape(-1, 1, tokens_BND.shape[-1]).expand(-1, 2, -1)
        grids = [y[:, -height * width :].transpose(1, 2).unflatten(2, (height, width)) for y in seen]
        return Features(project(x_BND), _as_map(project(alone_M2D), len(pixels_BCHW), height, width), tuple(grids))

    @staticmethod
    def _timm(visual: TimmModel, pixels_BCHW: Tensor, levels: bool) -> Features:
        trunk, seen = cast(Any, visual.trunk), []
        if levels:
            strides = [stage["reduction"] for stage in trunk.feature_info]
            which = _quarters(len(strides)) if len(set(strides)) == 1 else min(4, len(strides))
            features, seen = trunk.forward_intermediates(pixels_BCHW, which, output_fmt="NCHW")
        else:
            features = trunk.forward_features(pixels_BCHW)

        def project(x: Tensor) -> Tensor:
            return visual.head(trunk.forward_head(x))

        # In the layout of the trunk's own pooling: a map of one cell, or a sequence with one patch in every place.
        if features.ndim == 4:
            last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"  # as in Swin
            features_BHWD = features if last else features.permute(0, 2, 3, 1)
            batch, height, width, channels = features_BHWD.shape
            alone = features_BHWD.reshape(-1, 1, 1, channels)
            alone = alone if last else alone.permute(0, 3, 1, 2)
        else:
            batch, prefix = len(features), getattr(trunk, "num_prefix_tokens", 0)
            tokens = features[:, prefix:]
            # Hybrid trunks do not state their stride; images are square.
            height = width = math.isqrt(tokens.shape[1])
            alone = tokens.reshape(-1, 1, tokens.shape[-1]).expand(-1, prefix + 1, -1)
        return Features(project(features), _as_map(project(alone), batch, height, width), tuple(seen))

    @staticmethod
    def _resnet(visual: ModifiedResNet, pixels_BCHW: Tensor, levels: bool) -> Features:
        x, seen = visual.stem(pixels_BCHW), []
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
            seen.append(x)
        pool = visual.attnpool
        batch, _, height, width = x.shape
        tokens_BND = x.flatten(2).transpose(1, 2)
        tokens_BND = torch.cat([tokens_BND.mean(dim=1, keepdim=True), tokens_BND], dim=1)
        tokens_BND = tokens_BND + pool.positional_embedding.to(x.dtype)

        def heads(projection: nn.Linear) -> Tensor:
            return projection(tokens_BND).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(heads(pool.q_proj), heads(pool.k_proj), heads(pool.v_proj))
        out_BNC = pool.c_proj(mixed.transpose(1, 2).flatten(2))
        return Features(
            out_BNC[:, 0],
            _as_map(out_BNC[:, 1:].flatten(0, 1), batch, height, width),
            tuple(seen) if levels else (),
        )


def _quarters(layers: int) -> list[int]:
    """Indices of the layers at each quarter of a tower."""
    return sorted({round(layers * quarter / 4) - 1 for quarter in (1, 2, 3, 4)} - {-1})


def _as_map(vectors_MC: Tensor, batch: int, height: int, width: int) -> Tensor:
    return vectors_MC.unflatten(0, (batch, height, width)).permute(0, 3, 1, 2)


class TextTower(nn.Module):
    """An open_clip text tower that can take learned context vectors in front of the words (CoOp, arXiv 2109.01134)."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        # CLIP keeps the text tower's parts on itself; CustomTextCLIP keeps them together.
        if isinstance(clip, open_clip.CLIP):
            self.token_embedding = clip.token_embedding
            self.positional_embedding = clip.positional_embedding
            self.transformer = clip.transformer
            self.ln_final = clip.ln_final
            self.text_projection = clip.text_projection
            self.pool_type, self.eos_id = clip.text_pool_type, clip.text_eos_id
            self.register_buffer("attn_mask", clip.attn_mask, persistent=False)
            self.attn_mask: Tensor | None
            self.whole = None
        else:
            self.whole = cast(Any, clip).text
            self.pool_type = getattr(self.whole, "pool_type", None)
        self.context_length = int(cast(Any, clip).context_length)
        self.register_buffer("place_V", None, persistent=False)
        self.place_V: Tensor | None
        self.inverse_temperature = float(cast(Any, clip).logit_scale.detach().exp())
        """1 / τ: the factor by which CLIP multiplies cosines."""

    @property
    def takes_context(self) -> bool:
        """True if the tower takes learned context: it must be causal and pool at the end-of-text token."""
        return self.whole is None and self.pool_type in ("argmax", "eos") and self.attn_mask is not None

    @property
    def width(self) -> int:
        """Width of a word embedding and of a context vector."""
        return self.token_embedding.embedding_dim

    def keep_tokens(self, tokens_PL: Tensor) -> None:
        """Drop the embeddings of all tokens but these, int64 [P, L]: no other text will be read.

        Of CLIP's 49,408 tokens prompts and captions use less than a hundred. The others would cost an optimiser, and
        workers that exchange gradients, more than the rest of a small network.

        Raises:
            ValueError: some have been dropped before.
        """
        if self.whole is not None:
            return
        if self.place_V is not None:
            raise ValueError("the text tower has dropped tokens before, which it may need now")
        kept_M, old = tokens_PL.unique(), self.token_embedding
        place_V = torch.zeros(old.num_embeddings, dtype=torch.int64, device=tokens_PL.device)
        place_V[kept_M] = torch.arange(len(kept_M), device=tokens_PL.device)
        self.place_V = place_V
        self.token_embedding = nn.Embedding.from_pretrained(old.weight.detach()[kept_M], freeze=False)

    def forward(self, tokens_PL: Tensor, context: Tensor | None = None) -> Tensor:
        """Token ids, int64 [P, L], with M places reserved for `context` after the first -> vectors [P, C].

        `context` is [M, D], or [P, M, D] if each prompt has its own.
        """
        if self.whole is not None:
            found = self.whole(tokens_PL)
            return found[0] if isinstance(found, tuple) else found  # CoCa's tower returns its tokens too
        if self.takes_context:
            # Causal attention never looks past the end of text, so padding beyond the longest prompt is cut.
            ends = (tokens_PL == self.eos_id) if self.pool_type == "eos" else None
            end_P = tokens_PL.argmax(dim=1) if ends is None else ends.int().argmax(dim=1)
            tokens_PL = tokens_PL[:, : int(end_P.max()) + 1]
        length = tokens_PL.shape[1]
        x_PLD = self.token_embedding(tokens_PL if self.place_V is None else self.place_V[tokens_PL])
        if context is not None:
            context_PMD = context.expand(len(x_PLD), -1, -1)
            x_PLD = torch.cat([x_PLD[:, :1], context_PMD, x_PLD[:, 1 + context_PMD.shape[1] :]], dim=1)
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x_PLD = self.transformer(x_PLD + self.positional_embedding[:length], attn_mask=mask)
        x_PC = text_global_pool(self.ln_final(x_PLD), tokens_PL, self.pool_type, eos_token_id=self.eos_id)
        if self.text_projection is None:
            return x_PC
        return (
            self.text_projection(x_PC) if isinstance(self.text_projection, nn.Linear) else x_PC @ self.text_projection
        )


def tokenizer(spec: Clip) -> Any:
    """open_clip's tokenizer for the architecture: list of str -> int64 [P, context length]."""
    if isinstance(spec.architecture, str):
        return open_clip.get_tokenizer(spec.architecture)
    return open_clip.SimpleTokenizer(context_length=spec.architecture["text_cfg"].get("context_length", 77))
