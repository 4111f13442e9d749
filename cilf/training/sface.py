"""Loads SFace's weights from the block-quantised ONNX file of OpenCV's model zoo."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor

from cilf.models.clip import WeightsError
from cilf.models.sface import SFace

_EPSILON = 1e-3
"""Epsilon of the batch norms that follow the convolutions."""


def load_sface(path: Path) -> SFace:
    """The network in eval mode, float32 on the CPU, with the weights of `face_recognition_sface_2021dec_int8bq.onnx`.

    Raises:
        WeightsError: the file does not exist, is not an ONNX file, or holds the weights of another network.
    """
    network = SFace()
    try:
        tensors = read_onnx(path)
        for layer, name in zip(network.layers, _names(), strict=True):
            layer.load_state_dict(_layer(tensors, name))
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold the weights of SFace: {error}") from error
    return network.eval()


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The tensors of an ONNX file by name; tensors stored as blocks of integers are dequantised.

    Raises:
        WeightsError: the file does not exist, or is not an ONNX file.
    """
    try:
        model = onnx.load(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}; `make weights` gets it") from error
    except DecodeError as error:
        raise WeightsError(f"{path} is not an ONNX file: {error}") from error
    held = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            name = node.output[0].removesuffix("_dequantized")
            held[name] = _dequantised([held[part] for part in node.input], _block(node))
            if (shape := held.get(f"{name}_shape")) is not None:
                held[name] = held[name].reshape(shape.tolist())
    return held


def _block(node: onnx.NodeProto) -> int:
    return {attribute.name: attribute.i for attribute in node.attribute}["block_size"]


def _dequantised(parts: list[Tensor], block: int) -> Tensor:
    """Dequantise integers; each block along the last axis has its own scale and zero (ONNX's DequantizeLinear)."""
    whole, scale, zero = (part.float() for part in parts)
    scales, zeros = (each.repeat_interleave(block, dim=-1)[..., : whole.shape[-1]] for each in (scale, zero))
    return (whole - zeros) * scales


def _names() -> list[str]:
    return ["conv_1", *(name for number in range(2, 15) for name in (f"conv_{number}_dw", f"conv_{number}"))]


def _layer(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of a convolution with the batch norm after it folded in, and of its PReLU."""
    gamma, beta, mean, variance = (
        tensors[f"{name}_batchnorm_{part}"] for part in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / torch.sqrt(variance + _EPSILON)
    return {
        "0.weight": tensors[f"{name}_conv2d_weight"] * scale[:, None, None, None],
        "0.bias": beta - mean * scale,
        "1.weight": tensors[f"{name}_relu_gamma"].flatten(),
    }
