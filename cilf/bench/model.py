"""The model alone, on this machine's best device, and what correction takes of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cilf.bench.correction import BATCH, Correction, batches, corrections, measure, views_per_row
from cilf.bench.objects import Corpus
from cilf.bench.timing import median_seconds
from cilf.config import LabelOptions
from cilf.estimator import Estimator
from cilf.images.decode import decode
from cilf.storage import model_folder


@dataclass(frozen=True)
class Model:
    """The model alone."""

    images_per_s: float
    views_per_row: float
    """How many views of an image the network saw on average; what correction asks for depends on the images."""
    correction: Correction | None
    """None where too few of the images are distinct to tell."""


def model_alone(corpus: Corpus, model: str, repeats: int) -> Model:
    """Images per second in full batches that are already decoded, and what correction takes of that."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    estimator = Estimator(model_folder(model))
    decoded = np.stack(
        [decode(path.read_bytes(), estimator.image_size, LabelOptions.max_pixels).crop for path in corpus.sample()]
    )
    images = decoded[np.arange(max(2, len(decoded) // BATCH) * BATCH) % len(decoded)]
    fired = corrections(estimator, images)
    seconds = sum(median_seconds(repeats, *(partial(estimator, batch) for batch in batches(images))))
    correction = None if corpus.kind == "photographs" else measure(estimator, images, fired, repeats)
    return Model(len(images) / seconds, views_per_row(fired), correction)
