"""Numbered views of one image, for correction; the number alone determines the view."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Zoom (share of the side that is visible) and rotation in degrees of each frame; our own choice, within the range of
# the training augmentation.
_FRAMES = ((1.0, 0.0), (0.93, 0.0), (0.97, 5.0), (0.97, -5.0))
# Each frame is followed by its mirror image, because averaging these two helps most.
_VIEWS = tuple((mirror, *frame) for frame in _FRAMES for mirror in (False, True))


def views(pixels_BCHW: Tensor, first: int, count: int, mirrored: bool) -> Tensor:
    """Views `first` to `first + count - 1` of each image.

    Args:
        pixels_BCHW: float [B, C, S, S].
        first: number of the first view; view 0 is the image itself.
        count: number of views.
        mirrored: True if the model also evaluates mirror images, so that these do not count as separate views.

    Returns:
        float [B, count, C, S, S].
    """
    listed = _VIEWS[::2] if mirrored else _VIEWS
    seen = [_view(pixels_BCHW, *view) for view in listed[first : first + count]]
    # A single view, such as every row's first, is not copied: a stack would also lose the channels-last layout.
    return seen[0][:, None] if count == 1 else torch.stack(seen, dim=1)


def _view(pixels_BCHW: Tensor, mirror: bool, zoom: float, degrees: float) -> Tensor:
    if zoom != 1 or degrees:
        cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
        theta = pixels_BCHW.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(pixels_BCHW), -1, -1)
        grid = F.affine_grid(theta, list(pixels_BCHW.shape), align_corners=False)
        pixels_BCHW = F.grid_sample(pixels_BCHW, grid, padding_mode="reflection", align_corners=False)
    return pixels_BCHW.flip(3) if mirror else pixels_BCHW
