"""uint8 images to what a backbone expects, on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """uint8 [B, S, S, 3] -> float [B, 3, S, S], scaled to 0..1 and standardised per channel.

    On the device, because float pixels are four times the bytes to move and the CPU has other work.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images_BHWC: Tensor) -> Tensor:
        return self.standardise(images_BHWC.permute(0, 3, 1, 2).to(self.mean.dtype) / 255)

    def standardise(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels already in 0..1, [B, 3, H, W] -> standardised."""
        return (pixels_BCHW - self.mean) / self.std
