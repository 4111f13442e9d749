"""What correction costs the model, on rows that ask for as much of it as those it was calibrated on."""

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
    """The model with and without it, on the same rows."""

    without_images_per_s: float
    with_images_per_s: float
    cost: float
    """Share of the images per second that it takes."""
    fired: float
    """Share of rows that asked for further views."""
    views_per_row: float


def measure(estimator: Estimator, images_NHWC: np.ndarray, corrections_N: np.ndarray, repeats: int) -> Correction:
    """How many rows ask for further views depends on the images; so half of them are chosen that ask as usual.

    Args:
        estimator: the model.
        images_NHWC: uint8, decoded.
        corrections_N: rounds of further views that each of them asked for.
        repeats: measurements of each thing.
    """
    views = estimator.corrector.constants.measured.get("views_per_row") or 1.0
    usual = images_NHWC[usual_rows(corrections_N, views)]
    asked = corrections(estimator, usual)
    # Batch by batch in turns, as a machine's speed drifts by more than the difference.
    turns = [
        partial(work, estimator, batch) for batch in batches(usual) for work in (estimate_only, Estimator.__call__)
    ]
    seconds = median_seconds(repeats, *turns)
    plain, corrected = sum(seconds[0::2]), sum(seconds[1::2])
    return Correction(
        without_images_per_s=len(usual) / plain,
        with_images_per_s=len(usual) / corrected,
        cost=1 - plain / corrected,
        fired=float((asked > 0).mean()),
        views_per_row=views_per_row(asked),
    )


def usual_rows(corrections_N: np.ndarray, views_per_row: float) -> np.ndarray:
    """Half of the rows, in full batches, with as many further views as rows on average have in calibration.

    Args:
        corrections_N: rounds of further views that each row asked for.
        views_per_row: mean number of views to come near, from below.
    """
    shuffled = np.random.default_rng(0).permutation(len(corrections_N))
    count = max(1, len(corrections_N) // 2 // BATCH) * BATCH
    asking = shuffled[corrections_N[shuffled] > 0]
    further = np.cumsum(2 ** corrections_N[asking] - 1)
    some = int(np.searchsorted(further, (views_per_row - 1) * count, side="right"))
    content = shuffled[corrections_N[shuffled] == 0]
    rows = np.concatenate([asking[:some], content, asking[some:]])[:count]
    return np.random.default_rng(1).permutation(rows)


@torch.inference_mode()
def estimate_only(estimator: Estimator, images_NHWC: np.ndarray) -> np.ndarray:
    """Ages by the posterior of the first view alone, [N] years: what there would be without a corrector."""
    first = estimator.predict(torch.from_numpy(images_NHWC).to(estimator.device), 0, 1)
    decode = estimator.corrector.constants.decode
    return decode_age(first.probs_BVK[:, 0], estimator.model.ages, decode).cpu().numpy()


def corrections(estimator: Estimator, images_NHWC: np.ndarray) -> np.ndarray:
    """Rounds of further views that each image asks for, [N]."""
    return np.concatenate([estimator(batch).corrections for batch in batches(images_NHWC)])


def batches(images: np.ndarray) -> list[np.ndarray]:
    """As labelling hands them to the model."""
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def views_per_row(corrections_N: np.ndarray) -> float:
    """Mean number of views that the model has seen."""
    return float((2.0**corrections_N).mean())
