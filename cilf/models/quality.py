"""Measures of a crop's quality as a photograph: light, contrast, colour, and detail at several scales.

Blur, noise, a small face and compression remove or add detail at different scales; noise has evenly spread detail,
while a face has sparse detail. The list is our own choice; its effect on an estimate is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = 4
COLUMNS = 2 * SCALES + 8
"""Number of measures per crop."""

_LEAST = 1e-3


def quality(pixels_BCHW: Tensor) -> Tensor:
    """Measure the quality of crops, float32 [B, COLUMNS]; about 0.3 ms each on one thread.

    Args:
        pixels_BCHW: normalised, float [B, C, S, S]; only the first three channels are used. The units are those of
            the normalisation, so the results can be compared only within one model.
    """
    colour_BCHW = pixels_BCHW[:, :3].float()
    light_B1HW = colour_BCHW.mean(dim=1, keepdim=True)
    chroma_BCHW = colour_BCHW - light_B1HW
    patches_BP = F.adaptive_avg_pool2d(light_B1HW, 8).flatten(1)
    columns = [
        light_B1HW.mean(dim=(1, 2, 3)),
        light_B1HW.std(dim=(1, 2, 3)),
        patches_BP.amin(dim=1),
        patches_BP.amax(dim=1),
        *chroma_BCHW.mean(dim=(2, 3))[:, :2].unbind(dim=1),
        chroma_BCHW.std(dim=(1, 2, 3)),
        _log(_detail(chroma_BCHW)[0].abs().mean(dim=(1, 2, 3))),
    ]
    for _ in range(SCALES):
        detail, light_B1HW = _detail(light_B1HW)
        size_B = detail.abs().mean(dim=(1, 2, 3))
        columns += [_log(size_B), size_B / detail.square().mean(dim=(1, 2, 3)).sqrt().clamp(min=_LEAST)]
    return torch.stack(columns, dim=1)


def _detail(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Difference of each pixel from the mean of its 2 x 2 block, and the blocks' means."""
    x_BCHW = x_BCHW[:, :, : x_BCHW.shape[2] // 2 * 2, : x_BCHW.shape[3] // 2 * 2]
    half_BCHW = F.avg_pool2d(x_BCHW, 2)
    return x_BCHW - F.interpolate(half_BCHW, scale_factor=2), half_BCHW


def _log(x_B: Tensor) -> Tensor:
    return x_B.clamp(min=_LEAST).log()
