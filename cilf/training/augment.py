"""Augmentation of a whole batch at once, on whatever device it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(images_BCHW: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Random views of square images: geometry, colour and erasing differ for every row.

    Rotation up to 10 degrees, scale 0.85-1.05 of the side, aspect up to 5 %, shifts within what the scale leaves,
    mirror; brightness, contrast and saturation ±0.2; 5 % grey; one box erased in 10 % of rows. No blur: it takes the
    wrinkles away.

    Args:
        images_BCHW: float in 0..1.
        size: side of the result, pixels.
        generator: the source of randomness, on the CPU.

    Returns:
        float [B, 3, size, size] in 0..1.
    """
    batch = len(images_BCHW)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(batch).uniform_(low, high, generator=generator)

    angle, zoom, aspect = uniform(-1, 1) * math.radians(10), uniform(0.85, 1.05), uniform(0.95, 1.05)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    room = (1 - zoom).abs()
    rows_x = torch.stack([mirror * cos * zoom * aspect, -sin * zoom, uniform(-1, 1) * room], dim=1)
    rows_y = torch.stack([mirror * sin * zoom * aspect, cos * zoom, uniform(-1, 1) * room], dim=1)
    theta = torch.stack([rows_x, rows_y], dim=1).to(images_BCHW)
    grid = F.affine_grid(theta, [batch, 3, size, size], align_corners=False)
    x = F.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def gain() -> Tensor:
        return uniform(0.8, 1.2)[:, None, None, None].to(x)

    grey = (x * x.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(dim=1, keepdim=True)
    saturation = torch.where(uniform(0, 1) < 0.05, 0.0, uniform(0.8, 1.2))[:, None, None, None].to(x)
    x = grey + (x - grey) * saturation
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = ((mean + (x - mean) * gain()) * gain()).clamp(0, 1)

    # A box of 10-25 % of the side squared, anywhere, filled with the image's mean.
    side = uniform(0.3, 0.5) * size
    left, top = uniform(0, 1) * (size - side), uniform(0, 1) * (size - side)
    cells = torch.arange(size)
    inside_x = (cells >= left[:, None]) & (cells < (left + side)[:, None])
    inside_y = (cells >= top[:, None]) & (cells < (top + side)[:, None])
    erased = (uniform(0, 1) < 0.1)[:, None, None] & inside_y[:, :, None] & inside_x[:, None, :]
    return torch.where(erased[:, None].to(x.device), mean, x)
