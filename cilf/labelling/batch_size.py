"""The number of crops per model call, chosen by measurements on the machine itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cilf.estimator import Estimator

_TIMED = 3  # timed calls per size; the fastest counts, because other work may slow the rest
_ENOUGH = 0.95


def fastest(estimator: Estimator, sizes: Sequence[int]) -> int:
    """The smallest of `sizes` whose images per second are within 5 % of the highest rate.

    Smaller batches wait less for their last image and leave more memory free. Sizes that do not fit into the device's
    memory are skipped.

    Args:
        estimator: the model as it will be used.
        sizes: in ascending order. The first one has to fit.
    """
    from torch import OutOfMemoryError

    rates: dict[int, float] = {}
    for size in sizes:
        noise_NHWC = np.random.default_rng(0).integers(0, 256, (size, *estimator.images.shape), np.uint8)
        try:
            estimator(noise_NHWC)  # selects kernels and allocates memory
            rates[size] = size / min(_seconds(estimator, noise_NHWC) for _ in range(_TIMED))
        except OutOfMemoryError:
            if not rates:
                raise
            break
    return next(size for size, rate in rates.items() if rate >= _ENOUGH * max(rates.values()))


def _seconds(estimator: Estimator, images_NHWC: np.ndarray) -> float:
    start = time.perf_counter()
    estimator(images_NHWC)
    return time.perf_counter() - start
