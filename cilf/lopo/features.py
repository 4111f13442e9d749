"""Computes the features of each photograph's face with a model's frozen network, once for all folds.

The frozen parts are the image tower, the prompts' vectors, the score map with its temperature, and the FourierFormer,
as they come with the model. Heads are fitted on a row of numbers x = [f; score logits]: the FourierFormer's pooled and
normalised output, and the pooled cosines of the map with each age's prompt.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cilf.config import LabelOptions
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.images.decode import DecodeError
from cilf.images.faces import find, whole
from cilf.memory import keep_freed_memory
from cilf.models.cilf import CILF
from cilf.models.views import views
from cilf.own_process import prepare

VIEWS = 4
"""Number of views of each face, each with its mirror image. Heads are trained on all of them."""

ESTIMATES = ("first_age", "age", "age_low", "age_high", "expected_error", "accepted")
"""Fields of cilf.estimator.Estimates; float32, years, `accepted` 0 or 1."""

_CHUNK = 4  # photographs per batch: 16 views, as in cilf.estimator


@dataclass(frozen=True)
class Frozen:
    """Frozen features of N faces and V views, each with its mirror image: M = 2. Numpy arrays, float32 unless noted."""

    x_NVMX: np.ndarray
    """X = C + K numbers: f and then the score logits."""
    estimates_NJ: np.ndarray
    """The estimates that labelling gives, with the columns ESTIMATES."""
    found_N: np.ndarray
    """int32: number of faces found in the photograph; the biggest one is used, or the whole image if there is none."""

    @classmethod
    def joined(cls, parts: Sequence[Frozen]) -> Frozen:
        """Concatenates parts; at least one part."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def packed(self) -> bytes:
        """The arrays as the bytes of a NumPy .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, **{f.name: getattr(self, f.name) for f in fields(self)})
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, data: bytes) -> Frozen:
        """Reads the bytes that `packed` returned."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def frozen_features(folder: Path, ids: Sequence[str], images: Sequence[bytes]) -> Frozen:
    """Find the face of each photograph, cut it out in the frame that the model was trained on, and compute features.

    Raises:
        UsageError: an image cannot be decoded, or the model is not a CILF-CIAE.
    """
    estimator, model = _estimator(folder)
    crops, found = [], []
    for face, data in zip(ids, images, strict=True):
        try:
            faces = find(data, estimator.images, LabelOptions.max_pixels)
            found.append(faces.found)
            if not faces.found:
                faces = whole(data, estimator.images, LabelOptions.max_pixels)
        except DecodeError as error:
            raise UsageError(f"{face} is not an image that can be read: {error.reason}") from error
        crops.append(faces.crops_NHWC[0])
    crops_NHWC = np.stack(crops)
    estimates = estimator(crops_NHWC)
    pixels_BCHW = estimator.normalise(torch.from_numpy(crops_NHWC))
    x_NVMX = np.concatenate([_looked(model, part_BCHW) for part_BCHW in pixels_BCHW.split(_CHUNK)])
    estimates_NJ = np.stack([getattr(estimates, name).astype(np.float32) for name in ESTIMATES], axis=1)
    return Frozen(x_NVMX, estimates_NJ, np.array(found, np.int32))


@lru_cache(maxsize=1)
def _estimator(folder: Path) -> tuple[Estimator, CILF]:
    """The estimator and its network, kept for the life of the process."""
    keep_freed_memory()
    prepare()
    estimator = Estimator(folder, device="cpu", threads=1)
    model = estimator.model
    if not isinstance(model, CILF):
        raise UsageError(f"{folder} is a {type(model).__name__}; heads are fitted on a CILF-CIAE's frozen features")
    return estimator, model


@torch.inference_mode()
def _looked(model: CILF, pixels_BCHW: Tensor) -> np.ndarray:
    """The features x of each view and its mirror image, [B, V, M, X]."""
    fused: list[Tensor] = []
    watch = model.norm.register_forward_hook(lambda _module, _inputs, out: fused.append(out))
    try:
        # mirrored=True: mirror images are added below, so no view may be the mirror image of another.
        seen_BVCHW = views(pixels_BCHW, 0, VIEWS, mirrored=True)
        both = [seen.flatten(0, 1) for seen in (seen_BVCHW, seen_BVCHW.flip(4))]
        outs = [model(seen_BCHW.contiguous(memory_format=torch.channels_last)) for seen_BCHW in both]
    finally:
        watch.remove()
    rows = [torch.cat([f, out.score_logits_BK], dim=1) for f, out in zip(fused, outs, strict=True)]
    return torch.stack([x.unflatten(0, (-1, VIEWS)) for x in rows], dim=2).numpy()
