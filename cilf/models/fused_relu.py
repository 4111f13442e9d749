"""Fuses ReLUs into the convolutions before them, for inference on a CPU."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, cast

import torch
from torch import Tensor, nn

# oneDNN's name and arguments for each activation.
_POST_OPS: dict[type[nn.Module], tuple[str, list[float]]] = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


@torch.no_grad()
def fuse_relus(network: nn.Module, image_1CHW: Tensor) -> None:
    """Fuse each in-place ReLU or ReLU6 into the convolution that feeds it, and reorder the kernels once, in advance.

    A map is then written once instead of being read and written again, and no kernel is reordered for each batch;
    these two costs are a tenth of EfficientNet-Lite0's time. torch.compile would also make oneDNN do this, but takes
    minutes and needs a compiler. Without oneDNN nothing changes.

    Args:
        network: in eval mode, in float32 on a CPU; changed in place. Its outputs stay the same, for inputs of any size.
        image_1CHW: an example input.
    """
    if not torch.backends.mkldnn.is_available():
        return
    made: dict[int, tuple[nn.Conv2d, int]] = {}
    maps: list[Tensor] = []  # keeps the outputs alive, so that no two of them have the same id
    shapes: dict[nn.Conv2d, list[torch.Size]] = defaultdict(list)
    fed: dict[nn.Module, list[nn.Conv2d | None]] = defaultdict(list)

    def convolved(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made[id(output)] = cast(nn.Conv2d, conv), output._version
        maps.append(output)
        shapes[cast(nn.Conv2d, conv)].append(inputs[0].shape)

    def taken(relu: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        conv, version = made.get(id(inputs[0]), (None, 0))
        # None if a residual was added to the map in place between the two.
        fed[relu].append(conv if inputs[0]._version == version else None)

    names = {module: name for name, module in network.named_modules()}
    hooks: list[Any] = []
    for module in names:
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            hooks.append(module.register_forward_hook(convolved))
        elif type(module) in _POST_OPS and cast(nn.ReLU, module).inplace:
            hooks.append(module.register_forward_pre_hook(taken))
    try:
        network(image_1CHW)
    finally:
        for hook in hooks:
            hook.remove()
    for relu, convs in fed.items():
        conv = convs[0]
        if len(convs) == 1 and conv is not None and len(shapes[conv]) == 1:
            network.set_submodule(names[conv], _ConvRelu(conv, relu, shapes[conv][0]))
            network.set_submodule(names[relu], nn.Identity())


class _ConvRelu(nn.Module):
    """Convolution and activation in one kernel, for inference mode only."""

    def __init__(self, conv: nn.Conv2d, relu: nn.Module, shape_BCHW: torch.Size) -> None:
        super().__init__()
        self._geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        lay_out: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self._kernel = lay_out(conv.weight.detach().to_mkldnn(), *self._geometry, list(shape_BCHW))
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._post_op = _POST_OPS[type(relu)]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        convolve = torch.ops.mkldnn._convolution_pointwise
        return convolve(x_BCHW, self._kernel, self._bias, *self._geometry, *self._post_op, "")
