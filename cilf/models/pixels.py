"""Converts uint8 images to the input of a backbone, on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cilf.card import Images


class Normalise(nn.Module):
    """uint8 [B, S, S, C] -> float [B, C, S, S], scaled to 0..1 and standardised per channel.

    It runs on the device, because float pixels are four times as many bytes to move, and the CPU has other work.

    Args:
        images: the model's input; C is its `channels`.
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
        """Standardise pixels that are already in 0..1, [B, C, H, W]."""
        return (pixels_BCHW - self.mean) / self.std
