"""Speed of the model alone on this machine's best device, and the cost of correction."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from cilf.bench.correction import BATCH, Correction, batches, corrections, measure
from cilf.bench.objects import Corpus
from cilf.config import LabelOptions
from cilf.cores import cores
from cilf.estimator import Estimator
from cilf.images.faces import find, whole
from cilf.memory import keep_freed_memory
from cilf.storage import model_folder


@dataclass(frozen=True)
class Model:
    """One measurement of the model alone."""

    images_per_s: float
    asked: float
    """Share of images that got a second look; it depends on the images."""


class ModelAlone:
    """A model, and crops as labelling makes them, in full batches.

    Args:
        corpus: corpus to take a sample from.
        model: name, path or URL.
    """

    def __init__(self, corpus: Corpus, model: str) -> None:
        keep_freed_memory()  # as in labelling
        torch.set_num_threads(cores())
        self._estimator = Estimator(model_folder(model))
        cut_out = find if corpus.faces == "detect" else whole
        seen = [cut_out(path.read_bytes(), self._estimator.images, LabelOptions.max_pixels) for path in corpus.sample()]
        crops = np.concatenate([faces.crops_NHWC for faces in seen])
        self._images = crops[np.arange(max(2, len(crops) // BATCH) * BATCH) % len(crops)]
        self._corrections = corrections(self._estimator, self._images)

    def measure(self) -> Model:
        """Images per second in one pass over all images, with as many parallel calls as labelling makes."""
        with ThreadPoolExecutor(1 if self._estimator.device.type == "cuda" else 2) as callers:
            start = time.perf_counter()
            list(callers.map(self._estimator, batches(self._images)))
            seconds = time.perf_counter() - start
        return Model(len(self._images) / seconds, float((self._corrections > 0).mean()))

    def correction(self, repeats: int) -> Correction:
        """Cost of correction; not meaningful with only a few distinct images."""
        return measure(self._estimator, self._images, self._corrections, repeats)
