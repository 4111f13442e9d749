"""Replaces TensorFlow's SAME padding, which copies every map into a padded one, for inference."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers import Conv2dSame, get_same_padding
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def fix_same_padding(network: nn.Module, image_1CHW: Tensor) -> None:
    """Replace convolutions that pad according to the size of their input by plain ones for one input size.

    SAME padding may add one row more after a map than before it. torch's convolutions cannot do this, so timm copies
    the map into a larger one. Here the kernel gets leading rows of zeros instead, and padding is equal on both sides.
    In EfficientNet-Lite0 the copies are of its largest maps and take a third of the time on a CPU.

    Args:
        network: in eval mode; changed in place. Its outputs stay the same except for rounding, for inputs of this size.
        image_1CHW: an example input.
    """
    sizes: dict[str, torch.Size] = {}
    names = {module: name for name, module in network.named_modules() if isinstance(module, Conv2dSame)}

    def taken(conv: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        sizes[names[cast(Conv2dSame, conv)]] = inputs[0].shape[2:]

    hooks = [conv.register_forward_hook(taken) for conv in names]
    try:
        network(image_1CHW)
    finally:
        for hook in hooks:
            hook.remove()
    for name, size in sizes.items():
        plain = _plain(cast(Conv2dSame, network.get_submodule(name)), size)
        if plain is not None:
            network.set_submodule(name, plain)


def _plain(same: Conv2dSame, size: torch.Size) -> nn.Conv2d | None:
    """A plain convolution with the same result for maps of this size; None if rows of zeros cannot achieve it."""
    axes = zip(size, same.kernel_size, same.stride, same.dilation, strict=True)
    totals = [get_same_padding(*axis) for axis in axes]
    before, after = zip(*((total // 2, total - total // 2) for total in totals), strict=True)
    more = [last - first for first, last in zip(before, after, strict=True)]
    if any(rows % dilation for rows, dilation in zip(more, same.dilation, strict=True)):
        return None
    top, left = (rows // dilation for rows, dilation in zip(more, same.dilation, strict=True))
    weight = F.pad(same.weight, (left, 0, top, 0)).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(
        same.in_channels,
        same.out_channels,
        cast("tuple[int, int]", tuple(weight.shape[2:])),
        cast("tuple[int, int]", same.stride),
        cast("tuple[int, int]", after),
        cast("tuple[int, int]", same.dilation),
        same.groups,
        bias=same.bias is not None,
        device="meta",
    )
    plain.weight, plain.bias = nn.Parameter(weight), same.bias
    return plain.eval()
