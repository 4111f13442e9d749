"""Reads weights in TensorFlow.js's layout: a JSON file that lists tensors, and files in its folder that hold them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cilf.models.clip import WeightsError

_TYPES = {"float32": torch.float32, "int32": torch.int32}


def read_tfjs(path: Path) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js model by name, in TensorFlow's layouts: [H, W, in, out] for a convolution.

    Args:
        path: path of the model's JSON file.

    Raises:
        WeightsError: a file does not exist or is not of a TensorFlow.js model, the weights are quantised, or they are
            fewer or more than the JSON file lists.
    """
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
        listed = [(_listed(group), _bytes(path.parent, group)) for group in groups]
    except OSError as error:
        raise WeightsError(
            f"{error.filename or path} cannot be read: {error.strerror}; `make weights` gets it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not the JSON file of a TensorFlow.js model: {error!r}") from error
    tensors: dict[str, Tensor] = {}
    for weights, raw in listed:
        tensors |= _tensors(weights, raw, path)
    return tensors


Listed = tuple[str, str, tuple[int, ...], int]
"""Name, type, shape and bytes of a tensor."""


def _listed(group: dict[str, Any]) -> list[Listed]:
    weights = group["weights"]
    other = [w["name"] for w in weights if "quantization" in w or w["dtype"] not in _TYPES]
    if other:
        raise WeightsError(
            f"{other[0]} is quantised or of another type than {' and '.join(_TYPES)}, the only ones supported"
        )
    return [(w["name"], w["dtype"], tuple(w["shape"]), 4 * math.prod(w["shape"])) for w in weights]


def _bytes(folder: Path, group: dict[str, Any]) -> bytearray:
    return bytearray().join((folder / name).read_bytes() for name in group["paths"])


def _tensors(weights: list[Listed], raw: bytearray, path: Path) -> dict[str, Tensor]:
    expected = sum(size for *_, size in weights)
    if len(raw) != expected:
        raise WeightsError(
            f"the weights next to {path} are {len(raw):,} bytes, but it lists {expected:,}: copy both again"
        )
    tensors, start = {}, 0
    for name, kind, shape, size in weights:
        tensors[name] = torch.frombuffer(raw, dtype=_TYPES[kind], count=size // 4, offset=start).reshape(shape)
        start += size
    return tensors
