"""Cost of correction, measured on rows that need as many second looks as the calibration rows do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cilf.bench.timing import median_seconds
from cilf.estimator import Estimator
from cilf.labelling.runtime import BATCH_SIZES, GPU_BATCH_SIZES
from cilf.models.evidence import decode_age

BATCH = max(GPU_BATCH_SIZES if torch.cuda.is_available() else BATCH_SIZES)


@dataclass(frozen=True)
class Correction:
    """Speed of the model with and without correction, on the same rows."""

    without_images_per_s: float
    with_images_per_s: float
    cost: float
    """Loss of images per second through correction, as a share of those without."""
    asked: float
    """Share of rows that the second network estimated too."""


def measure(estimator: Estimator, images_NHWC: np.ndarray, corrections_N: np.ndarray, repeats: int) -> Correction:
    """Measure the speed with and without correction.

    The number of second looks depends on the images, so the measurement uses half of them, chosen to get as many second
    looks as in calibration.

    Args:
        estimator: the model.
        images_NHWC: decoded images, uint8.
        corrections_N: number of second looks that each image got.
        repeats: number of measurements.
    """
    usual = images_NHWC[usual_rows(corrections_N, estimator.corrector.constants.measured.get("share_asked") or 0.0)]
    asked_N = corrections(estimator, usual) > 0
    # Alternate batch by batch, because the machine's speed drifts by more than the difference.
    turns = [
        partial(work, estimator, batch) for batch in batches(usual) for work in (estimate_only, Estimator.__call__)
    ]
    seconds = median_seconds(repeats, *turns)
    plain, corrected = sum(seconds[0::2]), sum(seconds[1::2])
    return Correction(
        without_images_per_s=len(usual) / plain,
        with_images_per_s=len(usual) / corrected,
        cost=1 - plain / corrected,
        asked=float(asked_N.mean()),
    )


def usual_rows(corrections_N: np.ndarray, share: float) -> np.ndarray:
    """Half of the rows, in full batches, with the same share of second looks as in calibration.

    Args:
        corrections_N: number of second looks that each row got.
        share: share of rows with a second look; the result's share is at most this.
    """
    shuffled = np.random.default_rng(0).permutation(len(corrections_N))
    count = max(1, len(corrections_N) // 2 // BATCH) * BATCH
    asking, content = (shuffled[(corrections_N[shuffled] > 0) == asked] for asked in (True, False))
    some = int(share * count)
    rows = np.concatenate([asking[:some], content, asking[some:]])[:count]
    return np.random.default_rng(1).permutation(rows)


@torch.inference_mode()
def estimate_only(estimator: Estimator, images_NHWC: np.ndarray) -> np.ndarray:
    """First estimates, [N] years: the ages without a corrector."""
    first = estimator.look(torch.from_numpy(images_NHWC).to(estimator.device))
    return decode_age(first.posterior_BK, estimator.model.ages, estimator.corrector.constants.decode).cpu().numpy()


def corrections(estimator: Estimator, images_NHWC: np.ndarray) -> np.ndarray:
    """Number of second looks that each image gets, [N]."""
    return np.concatenate([estimator(batch).corrections for batch in batches(images_NHWC)])


def batches(images: np.ndarray) -> list[np.ndarray]:
    """Split images into batches as labelling does."""
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
