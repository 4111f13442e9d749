"""The core of CILF: uint8 images in, ages with expected errors out. Independent of Ray and storage.

from cilf.estimator import Estimator
estimator = Estimator(folder)
print(estimator(images).age)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from cilf.card import Images, ModelFolderError
from cilf.cores import cores
from cilf.models.checkpoint import load_model
from cilf.models.corrector import Judged
from cilf.models.evidence import Look
from cilf.models.folding import fold_batch_norms
from cilf.models.fused_relu import fuse_relus
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.models.quality import quality
from cilf.models.same_padding import fix_same_padding
from cilf.models.second import SecondNetwork

T = TypeVar("T")
Precision = Literal["float32", "bfloat16", "float16"]

_CHUNK = 16  # images per chunk of a CPU thread; with more, the first layers' maps need fresh memory pages each time


@dataclass(frozen=True)
class Estimates:
    """Estimates for N images: numpy arrays [N]."""

    age: np.ndarray
    """float32, years."""
    age_low: np.ndarray
    age_high: np.ndarray
    """float32, years: the ends of the calibrated 90 % interval."""
    first_age: np.ndarray
    """float32, years: before correction."""
    expected_error: np.ndarray
    """float32, years."""
    corrections: np.ndarray
    """int32: number of second looks, 0 or 1."""
    accepted: np.ndarray
    """bool: the expected error is at most the model's ε."""


class Estimator:
    """A model, loaded from its folder and ready to estimate ages.

    On a CPU a batch is split into small chunks, and each thread computes the next one: threads that share every
    operation wait for each other at the end of each, which costs a quarter of the speed on an idle machine and more on
    a busy one. Calls from several threads share one pool, so that none waits for the end of another call's batch.

    Args:
        folder: a model folder, with its correction calibrated.
        device: name of a torch device; default the GPU if there is one, else the CPU.
        precision: number format of the network; FFTs and the correction are float32 in any case.
        compiled: whether to use torch.compile, for any number of images.
        threads: number of threads on a CPU; default as many as torch and the cores allow.

    Raises:
        ModelFolderError: the folder has no model, a damaged one, or one without calibrated correction.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: Precision = "float32",
        compiled: bool = False,
        threads: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        model, corrector, second, self.card = load_model(Path(folder))
        if corrector is None:
            raise ModelFolderError(f"{folder} has no calibrated correction, so it cannot judge its estimates")
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        size, _, channels = self.images.shape
        image = torch.zeros(1, channels, size, size, device=self.device)
        fold_batch_norms(self.model, image)
        fix_same_padding(self.model, image)
        if compiled:
            self.model.compile(dynamic=True)
        elif self.device.type == "cpu" and self.dtype == torch.float32:
            fuse_relus(self.model, image)
        self.corrector = corrector.to(self.device)
        self.second = None if second is None else second.to(self.device).to(memory_format=torch.channels_last)
        self.normalise = Normalise(self.images).to(self.device)
        self.threads = 1 if self.device.type == "cuda" else threads or min(torch.get_num_threads(), cores())
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    @property
    def images(self) -> Images:
        """The input: the size of the crops, and what they show."""
        return self.card.model.images

    def __call__(self, images_NHWC: np.ndarray) -> Estimates:
        """Estimate, judge and correct the ages of a batch, uint8 [N, S, S, C] in RGB; the caller limits N.

        C is 3, or 6 for a model that also looks at bodies: the face, then the body, which is black where it is hidden.

        Raises:
            ValueError: images of another shape or type.
        """
        if images_NHWC.dtype != np.uint8 or images_NHWC.shape[1:] != self.images.shape:
            expected = ", ".join(map(str, self.images.shape))
            raise ValueError(f"images must be uint8 [N, {expected}], not {images_NHWC.dtype} {list(images_NHWC.shape)}")
        if not len(images_NHWC):
            empty = np.empty(0, np.float32)
            return Estimates(empty, empty, empty, empty, empty, empty.astype(np.int32), empty.astype(bool))
        judged = self._judge(torch.from_numpy(images_NHWC))
        return Estimates(
            age=judged.age_B.cpu().numpy(),
            age_low=judged.low_B.cpu().numpy(),
            age_high=judged.high_B.cpu().numpy(),
            first_age=judged.first_age_B.cpu().numpy(),
            expected_error=judged.expected_error_B.cpu().numpy(),
            corrections=judged.corrections_B.cpu().numpy().astype(np.int32),
            accepted=judged.accepted_B.cpu().numpy(),
        )

    @torch.inference_mode()
    def _judge(self, images_NHWC: Tensor) -> Judged:
        if self.device.type == "cuda":
            images_NHWC = images_NHWC.pin_memory().to(self.device, non_blocking=True)
        ask = None if self.second is None else lambda rows: self.look_again(images_NHWC[rows])
        return self.corrector.label(self.look(images_NHWC), ask)

    def look(self, images_NHWC: Tensor) -> Look:
        """The outputs of the network for each image, before they are judged and corrected.

        Args:
            images_NHWC: uint8 [N, S, S, C] on the estimator's device.
        """
        looks = self._in_chunks(
            images_NHWC,
            _CHUNK // 2 if self.model.spec.mirrored else _CHUNK,
            lambda pixels_BCHW: first_look(self.model, pixels_BCHW, self.dtype),
        )
        return Look.concatenated(looks)

    def look_again(self, images_NHWC: Tensor) -> Tensor:
        """Age posteriors of the second network, float32 [N, K], for images as `look` takes them."""
        second = self.second
        assert second is not None
        looks = self._in_chunks(
            images_NHWC, _CHUNK // 2, lambda pixels_BCHW: second_look(second, pixels_BCHW, self.dtype)
        )
        return torch.cat(looks)

    def _in_chunks(self, images_NHWC: Tensor, size: int, of: Callable[[Tensor], T]) -> list[T]:
        """Results of a function of normalised pixels: in one call on a GPU, in chunks on all threads of a CPU."""
        if self.device.type == "cuda":
            return [of(self.normalise(images_NHWC))]
        return list(self._pool.map(lambda chunk: of(self.normalise(chunk)), images_NHWC.split(size)))


@torch.inference_mode()
def first_look(model: Network, pixels_BCHW: Tensor, dtype: torch.dtype) -> Look:
    """The outputs of the network for images: posteriors, its further ages and embeddings; and the images' quality.

    A mirrored model returns the mean over each image and its mirror image.

    Args:
        model: in eval mode.
        pixels_BCHW: normalised, float32.
        dtype: float32, or the type in which autocast computes.
    """
    mirrored = model.spec.mirrored
    flat = torch.cat([pixels_BCHW, pixels_BCHW.flip(3)]) if mirrored else pixels_BCHW
    with torch.autocast(pixels_BCHW.device.type, dtype, enabled=dtype != torch.float32):
        out = model(flat.contiguous(memory_format=torch.channels_last))
    embedding = model.embedding(out)
    parts = [*model.posteriors(out), *([] if embedding is None else [embedding.float()])]
    both = [part.unflatten(0, (-1, len(pixels_BCHW))) for part in parts]
    posterior, *others = (part.mean(dim=0) for part in both)
    embedding = None if embedding is None else others.pop()
    ages = [model.ages.mean(p) for p in others]
    if mirrored:
        ages.append(model.ages.mean(both[0][0]))  # the mirror image's age is as far from the mean, on the other side
    return Look(posterior, torch.stack(ages, dim=1) if ages else None, quality(pixels_BCHW), embedding)


@torch.inference_mode()
def second_look(network: SecondNetwork, pixels_BCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """Age posteriors of the second network, float32 [B, K]; arguments as in `first_look`."""
    with torch.autocast(pixels_BCHW.device.type, dtype, enabled=dtype != torch.float32):
        return network(pixels_BCHW.contiguous(memory_format=torch.channels_last))
