"""TensorFlow's SAME padding without a padded copy of every map, for inference."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers import Conv2dSame, get_same_padding
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def fix_same_padding(network: nn.Module, image_1CHW: Tensor) -> None:
    """Make convolutions that pad their input to the size it happens to have into plain ones for one size.

    SAME padding may put a row more after a map than before it, which torch's convolutions cannot: timm copies the map
    into a larger one. Here the kernel gets leading rows of zeros instead, and padding is the same on both sides. In
    EfficientNet-Lite0 the copies, of its largest maps, take a third of a CPU's time.

    Args:
        network: in eval mode; changed in place. Its outputs stay the same but for rounding, for inputs of this size.
        image_1CHW: an input of it.
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
    """The same convolution of maps of this size; None where rows of zeros cannot do it."""
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
