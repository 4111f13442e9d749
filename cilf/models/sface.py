"""SFace (Zhong et al. 2021, arXiv 2205.12010), a face recognition network, as a source of features.

OpenCV's model zoo has it as `face_recognition_sface_2021dec`: a MobileNetV1 with PReLU whose first convolution keeps
the image's size. Batch norms are folded into the convolutions before them, so it is for inference only.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

SIDE = 112
"""Side of the input, pixels."""
STEM = 32
"""Channels after the first convolution."""
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels after each depthwise-separable layer."""
_HALVING = (1, 3, 5, 11)
"""The layers that halve the map."""
_FINE = 11
"""Number of layers before the last halving."""
FEATURES = WIDTHS[_FINE - 1] + WIDTHS[-1]
"""Channels of both maps together."""
_MIDDLE, _RANGE = 127.5, 128.0


class SFace(nn.Module):
    """SFace without its last layer, which maps to the embedding and holds half of the weights.

    Weights are random until cilf.training.sface loads them.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, STEM, 3)]
        for number, (width, wider) in enumerate(pairwise((STEM, *WIDTHS))):
            stride = 2 if number in _HALVING else 1
            layers += [_convolution(width, width, 3, stride, groups=width), _convolution(width, wider, 1)]
        self.layers = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """RGB in 0..255, float [B, 3, 112, 112], in ArcFace's frame -> maps [B, 512, 14, 14] and [B, 1024, 7, 7]."""
        fine = self.layers[: 1 + 2 * _FINE]((pixels_BCHW - _MIDDLE) / _RANGE)
        return fine, self.layers[1 + 2 * _FINE :](fine)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups), nn.PReLU(outputs))
