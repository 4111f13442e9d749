"""Make cilf/images/weights/yunet.onnx from the weights that libfacedetection is compiled with.

    pip install --target site --no-deps yuface==2023.5.1 onnx onnxscript protobuf ml_dtypes onnx_ir
    PYTHONPATH=site python tests/framing/yunet_weights.py site/yuface/libfacedetection.so cilf/images/weights/yunet.onnx

The weights of every layer are a symbol of that library. The graph is that of Wu, Peng and Yu (2023), with input and
output: pixels as they are stored, and the score of each cell.
"""

from __future__ import annotations

import ctypes
import sys
from itertools import pairwise
from pathlib import Path

import torch
from cyclopts import App
from torch import Tensor, nn
from torch.nn import functional as F

CELLS = (8, 16, 32)
BRANCHES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class Library:
    """The symbols of libfacedetection."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The values of a symbol, float32 [*shape]."""
        count = torch.Size(shape).numel()
        return torch.tensor((ctypes.c_float * count).in_dll(self._library, name)).view(shape)


class Separable(nn.Sequential):
    """A pointwise convolution, followed by a depthwise one over 3 x 3 cells."""

    def __init__(self, weights: Library, name: str, inputs: int, outputs: int, *, last: bool = False) -> None:
        pointwise, depthwise = nn.Conv2d(inputs, outputs, 1), nn.Conv2d(outputs, outputs, 3, 1, 1, groups=outputs)
        pointwise.weight.data = weights(f"{name}_pw_weight", outputs, inputs, 1, 1)
        pointwise.bias.data = weights(f"{name}_pw_bias", outputs)
        depthwise.weight.data = weights(f"{name}_dw_weight", 3, 3, outputs, 1).permute(2, 3, 0, 1).contiguous()
        depthwise.bias.data = weights(f"{name}_dw_bias", outputs)
        super().__init__(pointwise, depthwise, nn.Identity() if last else nn.ReLU())


class YuNet(nn.Module):
    """A backbone, and three grids from coarse to fine with four branches each."""

    def __init__(self, weights: Library) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        windows = weights("backbone__model0_pw_weight", 16, 32)[:, :27]  # blue, green and red of 3 x 3 pixels, padded
        self.stem.weight.data = windows.reshape(16, 3, 3, 3).permute(0, 3, 1, 2).flip(1).contiguous()
        self.stem.bias.data = weights("backbone__model0_pw_bias", 16)
        widths = (16, 32, 64, 64, 64, 64)
        self.stages = nn.ModuleList([Separable(weights, "backbone__model0_dp", 16, 16)])
        for stage, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            name = f"backbone__model{stage}_dp"
            first = Separable(weights, f"{name}1", inputs, inputs)
            second = Separable(weights, f"{name}2", inputs, outputs)
            self.stages.append(nn.Sequential(first, second))
        self.lateral = nn.ModuleList([Separable(weights, f"neck__lateral_convs__{n}", 64, 64) for n in range(3)])
        self.branches = nn.ModuleDict(
            {
                kind: nn.ModuleList(
                    [Separable(weights, f"bbox_head__multi_level_{kind}__{n}", 64, out, last=True) for n in range(3)]
                )
                for kind, out in BRANCHES.items()
            }
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 [1, H, W, 3] -> score [h, w], box [4, h, w] and points [10, h, w] of each grid."""
        x = F.max_pool2d(self.stages[0](F.relu(self.stem(image.permute(0, 3, 1, 2).float()))), 2)
        x = F.max_pool2d(self.stages[2](self.stages[1](x)), 2)
        fine = self.stages[3](x)
        middle = self.stages[4](F.max_pool2d(fine, 2))
        coarse = self.lateral[2](self.stages[5](F.max_pool2d(middle, 2)))
        middle = self.lateral[1](middle + F.interpolate(coarse, scale_factor=2.0))
        fine = self.lateral[0](fine + F.interpolate(middle, scale_factor=2.0))
        out: list[Tensor] = []
        for number, grid in enumerate((fine, middle, coarse)):
            is_face, is_centred, box, points = (self.branches[kind][number](grid)[0] for kind in BRANCHES)
            out += [torch.sqrt(is_face.sigmoid() * is_centred.sigmoid())[0], box, points]
        return tuple(out)


def main(library: Path, output: Path) -> int:
    """Write the network."""
    names = [f"{name}_{cell}" for cell in CELLS for name in ("score", "box", "points")]
    sides = {name: {(0 if name.startswith("score") else 1): "rows"} for name in names}
    sides = {name: {**axes, max(axes) + 1: "columns"} for name, axes in sides.items()}
    torch.onnx.export(
        YuNet(Library(library)).eval(),
        (torch.zeros(1, 96, 128, 3, dtype=torch.uint8),),
        str(output),
        input_names=["image"],
        output_names=names,
        dynamic_axes={"image": {1: "height", 2: "width"}, **sides},
        dynamo=False,
        opset_version=17,
    )
    return 0


if __name__ == "__main__":
    app = App(result_action="return_value")
    app.default(main)
    sys.exit(app())
