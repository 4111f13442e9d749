"""uint8 images to what a backbone expects, on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cilf.card import Images


class Normalise(nn.Module):
    """uint8 [B, S, S, C] -> float [B, C, S, S], scaled to 0..1 and standardised per channel.

    On the device, because float pixels are four times the bytes to move and the CPU has other work.

    Args:
        images: what the model sees; C is its `channels`.
    """

    def __init__(self, images: Images) -> None:
        super().__init__()
        pictures = images.channels // 3
        self.register_buffer("mean", torch.tensor(images.mean * pictures)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(images.std * pictures)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images_BHWC: Tensor) -> Tensor:
        return self.standardise(images_BHWC.permute(0, 3, 1, 2).to(self.mean.dtype) / 255)

    def standardise(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels already in 0..1, [B, C, H, W] -> standardised."""
        return (pixels_BCHW - self.mean) / self.std
