"""FourierFormer: global mixing of a feature map in its spectrum, and the mixers it is compared with.

The block follows CILF-CIAE (arXiv 2312.01758), whose Fourier prior embedding is based on Fourmer: one DFT, a
spatial interaction (depth-wise 3×3) and a channel evolution (1×1) on the spectrum's real and imaginary parts, one
inverse DFT. The non-linearity inside the spectrum makes the mixing global: a linear convolution over frequencies is
only a mask in space.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.card import Fourier
from cilf.models.dft import irfft2, rfft2

Film = tuple[Tensor, Tensor] | None
"""Scale γ and shift β of each image's channels, both [B, C, 1, 1], or None."""


class Pointwise(nn.Conv2d):
    """1×1 convolution computed as a matrix product, which is fastest on channels-last maps.

    Inside a block every map is channels-last, whatever the input's layout, because the norms return that layout.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return pointwise(x_BCHW, self.weight.flatten(1), self.bias)


def pointwise(x_BCHW: Tensor, weight_OC: Tensor, bias_O: Tensor | None) -> Tensor:
    """Matrix product over the channels, [B, C, H, W] -> [B, O, H, W]."""
    return F.linear(x_BCHW.permute(0, 2, 3, 1), weight_OC, bias_O).permute(0, 3, 1, 2)


def _spatial(channels: int, activation: nn.Module) -> nn.Sequential:
    """Two depth-wise 3×3 convolutions. Rows (frequencies along H) are periodic, so the spectrum includes a margin of 2
    rows for them; columns are not periodic, and are padded with zeros.

    There are no biases: a constant over all frequencies is an impulse in one cell, the same for every image."""

    def depthwise() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 3, padding=(0, 1), groups=channels, bias=False)

    return nn.Sequential(depthwise(), activation, depthwise())


def _channel(channels: int, activation: nn.Module, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(Pointwise(channels, channels, bias), activation, Pointwise(channels, channels, bias))


class Spectral(nn.Module):
    """Base class of the spectral mixers: transforms and everything between them run in float32, also under autocast.

    Half-precision FFTs need power-of-two sizes on CUDA and do not exist on the CPU. torch.compile does not support
    complex weights, so all weights are real and work on real and imaginary parts.
    """

    margin = 0
    """Rows of frequencies at either end that `mix` consumes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out = Pointwise(channels, channels)

    def mix(self, real: Tensor, imag: Tensor, film: Film, cells: int) -> tuple[Tensor, Tensor]:
        """Mix the spectrum's real and imaginary parts, [B, C, H + 2 margin, W//2+1] each -> [B, C, H, W//2+1] each."""
        raise NotImplementedError

    def forward(self, u_BCHW: Tensor, film: Film = None) -> Tensor:
        """Mix a map, [B, C, H, W] -> [B, C, H, W], for any grid."""
        height, width = u_BCHW.shape[2:]
        with torch.autocast(u_BCHW.device.type, enabled=False):
            real, imag = rfft2(u_BCHW.float(), self.margin)
            film = None if film is None else (film[0].float(), film[1].float())
            real, imag = self.mix(real, imag, film, height * width)
            mixed = irfft2(real, imag, width)
        return self.project(mixed.to(u_BCHW.dtype))

    def project(self, mixed_BCHW: Tensor) -> Tensor:
        """Apply the last 1×1 convolution, after the inverse transform."""
        return self.out(mixed_BCHW)


def _modulate(real: Tensor, imag: Tensor, film: Film, cells: int) -> tuple[Tensor, Tensor]:
    """FiLM on a spectrum: scales every frequency by 1 + γ, adds β to the constant one (that is, to every cell)."""
    if film is None:
        return real, imag
    gamma, beta = film
    real, imag = real * (1 + gamma), imag * (1 + gamma)
    real[:, :, 0, 0] += math.sqrt(cells) * beta[:, :, 0, 0]
    return real, imag


class FourierPriorEmbedding(Spectral):
    """`fpe`: separate non-linear networks on the real and the imaginary part."""

    margin = 2

    def __init__(self, channels: int, activation: nn.Module | None = None) -> None:
        super().__init__(channels)
        act = nn.LeakyReLU(0.1, inplace=True) if activation is None else activation
        self.spatial_real, self.spatial_imag = _spatial(channels, act), _spatial(channels, act)
        self.channel_real, self.channel_imag = _channel(channels, act), _channel(channels, act)

    def mix(self, real: Tensor, imag: Tensor, film: Film, cells: int) -> tuple[Tensor, Tensor]:
        real, imag = self.spatial_real(real), self.spatial_imag(imag)
        real, imag = _modulate(real, imag, film, cells)
        merged = self._merged(len(real) * cells)
        return self._evolve(self.channel_real, real, merged), self._evolve(self.channel_imag, imag, merged)

    def project(self, mixed_BCHW: Tensor) -> Tensor:
        if self._merged(mixed_BCHW.numel() // mixed_BCHW.shape[1]):
            return mixed_BCHW + cast(Tensor, self.out.bias)[:, None, None]
        return super().project(mixed_BCHW)

    def _merged(self, cells: int) -> bool:
        """True if `out` is multiplied into the last matrices of the spectrum: two products of C×C instead of one of C×C
        with every cell. Only the inverse transform lies between them, and it acts on each channel alone."""
        return cells > 2 * self.out.in_channels

    def _evolve(self, channel: nn.Sequential, part: Tensor, merged: bool) -> Tensor:
        if not merged:
            return channel(part)
        (first, activation, last), weight = cast(Any, channel), self.out.weight.flatten(1)
        return pointwise(activation(first(part)), weight @ last.weight.flatten(1), None)


class AmplitudePhase(Spectral):
    """`amplitude_phase`: the networks of `fpe` on log-amplitude and on the phase's cosine and sine.

    The phase itself wraps at ±π and its gradient is unbounded near zero amplitude; its unit vector avoids both.
    """

    margin = 2

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        act = nn.LeakyReLU(0.1, inplace=True)
        self.spatial_amplitude, self.spatial_phase = _spatial(channels, act), _spatial(channels, act)
        self.channel_amplitude, self.channel_phase = _channel(channels, act), _channel(channels, act)

    def mix(self, real: Tensor, imag: Tensor, film: Film, cells: int) -> tuple[Tensor, Tensor]:
        amplitude = (real.square() + imag.square() + 1e-8).sqrt()
        cosine, sine = real / amplitude, imag / amplitude
        amplitude = self.channel_amplitude(self.spatial_amplitude(amplitude.log1p()))
        cosine = self.channel_phase(self.spatial_phase(cosine))
        sine = self.channel_phase(self.spatial_phase(sine))
        length = (cosine.square() + sine.square() + 1e-8).sqrt()
        amplitude = F.softplus(amplitude)
        return _modulate(amplitude * cosine / length, amplitude * sine / length, film, cells)


class GlobalFilter(Spectral):
    """`gfnet`: multiplies the spectrum by one learned complex filter (GFNet, arXiv 2107.00645): a linear global
    convolution.

    The filter is learned for one grid, and is resampled for others.
    """

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__(channels)
        height, width = grid
        self.filter_real = nn.Parameter(torch.ones(1, channels, height, width // 2 + 1))
        self.filter_imag = nn.Parameter(torch.zeros(1, channels, height, width // 2 + 1))

    def mix(self, real: Tensor, imag: Tensor, film: Film, cells: int) -> tuple[Tensor, Tensor]:
        a: Tensor = self.filter_real
        b: Tensor = self.filter_imag
        if a.shape[2:] != real.shape[2:]:
            size = (real.shape[2], real.shape[3])
            a, b = (F.interpolate(part, size, mode="bilinear", align_corners=True) for part in (a, b))
        return _modulate(real * a - imag * b, real * b + imag * a, film, cells)


class Attention(nn.Module):
    """`attention`: softmax self-attention over the cells, with a fused kernel and one head per 64 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 64)
        if channels % self.heads:
            raise ValueError(f"attention needs channels divisible by {self.heads} heads, got {channels}")
        self.qkv = Pointwise(channels, 3 * channels)
        self.out = Pointwise(channels, channels)

    def forward(self, u_BCHW: Tensor, film: Film = None) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        height, width = u_BCHW.shape[2:]
        # [B, 3C, H, W] -> three of [B, heads, cells, C / heads] with contiguous channels: the fused kernel takes no
        # other layout.
        q, k, v = self.qkv(u_BCHW).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(3, 4).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
        return self.out(_modulate_cells(mixed.unflatten(2, (height, width)), film))


class Convolution(nn.Module):
    """`conv`: the networks of `fpe` without the transforms: local mixing only, with as many parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        act = nn.LeakyReLU(0.1, inplace=True)

        def depthwise() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

        self.spatial = nn.ModuleList(nn.Sequential(depthwise(), act, depthwise()) for _ in range(2))
        self.channel = nn.ModuleList(_channel(channels, act, bias=True) for _ in range(2))
        self.out = Pointwise(channels, channels)

    def forward(self, u_BCHW: Tensor, film: Film = None) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        branches = zip(self.spatial, self.channel, strict=True)
        return self.out(sum(channel(_modulate_cells(spatial(u_BCHW), film)) for spatial, channel in branches))


def _modulate_cells(u_BCHW: Tensor, film: Film) -> Tensor:
    return u_BCHW if film is None else u_BCHW * (1 + film[0]) + film[1]


def build_mixer(name: str, channels: int, grid: tuple[int, int]) -> nn.Module:
    """Build the mixer of a given name: a module [B, C, H, W] -> [B, C, H, W] that takes an optional Film.

    Args:
        name: fpe, amplitude_phase, gfnet, attention or conv.
        channels: C.
        grid: H and W that the model is built for; only gfnet's filter depends on it.
    """
    if name == "gfnet":
        return GlobalFilter(channels, grid)
    mixers = {
        "fpe": FourierPriorEmbedding,
        "amplitude_phase": AmplitudePhase,
        "attention": Attention,
        "conv": Convolution,
    }
    return mixers[name](channels)


LAYER_SCALE = 0.3
"""Initial scale of each branch of a block. From 1e-2, as in deep vision transformers, the branches of one or two blocks
do not gain any weight before training ends."""


class FourierBlock(nn.Module):
    """x + α₁ ⊙ Mixer(LN x), then x + α₂ ⊙ FFN(LN x), with LayerScale α."""

    def __init__(self, channels: int, spec: Fourier, grid: tuple[int, int]) -> None:
        super().__init__()
        self.mixer_norm, self.ffn_norm = LayerNorm2d(channels), LayerNorm2d(channels)
        self.mixer = build_mixer(spec.mixer, channels, grid)
        self.ffn = nn.Sequential(Pointwise(channels, 2 * channels), nn.GELU(), Pointwise(2 * channels, channels))
        self.mixer_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.ffn_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.drop_path = DropPath(spec.drop_path)
        self.film = nn.Linear(channels, 2 * channels) if spec.film else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x_BCHW: Tensor, message_BC: Tensor | None) -> Tensor:
        """Mix a map, [B, C, H, W] -> [B, C, H, W], modulated by each image's text message [B, C] if there is one."""
        film: Film = None
        if self.film is not None and message_BC is not None:
            gamma, beta = self.film(message_BC)[:, :, None, None].chunk(2, dim=1)
            film = (gamma, beta)
        x_BCHW = x_BCHW + self.drop_path(self.mixer_scale * self.mixer(self.mixer_norm(x_BCHW), film))
        return x_BCHW + self.drop_path(self.ffn_scale * self.ffn(self.ffn_norm(x_BCHW)))
