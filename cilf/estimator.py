"""The centre: uint8 images in, judged ages out. Knows nothing of Ray or storage.

from cilf.estimator import Estimator
estimator = Estimator(folder)
print(estimator(images).age)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cilf.card import Images, ModelFolderError
from cilf.cores import cores
from cilf.models.checkpoint import load_model
from cilf.models.corrector import Judged
from cilf.models.evidence import Predictions
from cilf.models.folding import fold_batch_norms
from cilf.models.fused_relu import fuse_relus
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.models.same_padding import fix_same_padding
from cilf.models.views import views

Precision = Literal["float32", "bfloat16", "float16"]

_CHUNK = 16  # views that a CPU thread computes at once; of more, the first layers' maps are fresh pages each time


@dataclass(frozen=True)
class Estimates:
    """One entry per image, numpy arrays [N]."""

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
    """int32: rounds of further evidence."""
    accepted: np.ndarray
    """bool: the expected error is at most the model's ε."""


class Estimator:
    """A model folder, ready to estimate.

    On a CPU a batch is cut into small chunks, and each thread computes the next: threads that share every operation
    wait for each other at the end of each, which costs a quarter on an idle machine and more on a busy one. Calls
    from several threads share these, so that none waits for the end of another's batch.

    Args:
        folder: a model folder, with its correction calibrated.
        device: as torch names it; default the GPU where there is one, else the CPU.
        precision: number format of the network; FFTs and the correction are float32 in any case.
        compiled: with torch.compile, for any number of images.
        threads: on a CPU, how many compute; default as many as torch has.

    Raises:
        ModelFolderError: no model, a damaged one, or one without calibrated correction.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        precision: Precision = "float32",
        compiled: bool = False,
        threads: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        model, corrector, self.card = load_model(folder)
        if corrector is None:
            raise ModelFolderError(f"{folder} has no calibrated correction, so it can judge no estimate")
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
        self.normalise = Normalise(self.images).to(self.device)
        self.threads = 1 if self.device.type == "cuda" else threads or min(torch.get_num_threads(), cores())
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    @property
    def images(self) -> Images:
        """What it takes: the size of the crops, and what they show."""
        return self.card.model.images

    def __call__(self, images_NHWC: np.ndarray) -> Estimates:
        """Estimate, judge and correct a batch, uint8 [N, S, S, C] in RGB; the caller bounds N.

        C is 3; of a model that looks at bodies too it is 6, the face and then the body, which is black where it is
        hidden.

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
        first = self.predict(images_NHWC, 0, 1)
        return self.corrector.label(first, lambda rows, view, count: self.predict(images_NHWC[rows], view, count))

    def predict(self, images_NHWC: Tensor, first_view: int, count: int) -> Predictions:
        """What the network says of some views of each image, before anything is judged.

        Args:
            images_NHWC: uint8 [N, S, S, C] on the estimator's device.
            first_view, count: which of cilf.models.views.
        """

        def of(images_NHWC: Tensor) -> Predictions:
            return predictions(self.model, self.normalise(images_NHWC), first_view, count, self.dtype)

        if self.device.type == "cuda":
            return of(images_NHWC)
        per_image = 2 * count if self.model.spec.mirrored else count
        chunks = images_NHWC.split(max(1, _CHUNK // per_image))
        return Predictions.concatenated(list(self._pool.map(of, chunks)))


@torch.inference_mode()
def predictions(model: Network, pixels_BCHW: Tensor, first_view: int, count: int, dtype: torch.dtype) -> Predictions:
    """What the network says of some views of each image: posteriors, and the other ages it holds.

    A mirrored model says the mean of what it sees in a view and in its mirror image.

    Args:
        model: in eval mode.
        pixels_BCHW: normalised, float32.
        first_view, count: which of cilf.models.views.
        dtype: float32, or what autocast computes in.
    """
    flat = views(pixels_BCHW, first_view, count, model.spec.mirrored).flatten(0, 1)
    if model.spec.mirrored:
        flat = torch.cat([flat, flat.flip(3)])
    flat = flat.contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels_BCHW.device.type, dtype, enabled=dtype != torch.float32):
        out = model(flat)
    # [mirror image or not, B, views, K]
    shape = (-1, len(pixels_BCHW), count)
    posterior, *others = (p.unflatten(0, shape).mean(dim=0) for p in model.posteriors(out))
    return Predictions(posterior, torch.stack([model.ages.mean(p) for p in others], dim=2) if others else None)
