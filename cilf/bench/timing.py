"""Timing: medians of alternating measurements, and the fixed and marginal cost of a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cilf.errors import JobError


@dataclass(frozen=True)
class Slope:
    """Linear model of a run's duration: fixed_seconds + images / images_per_s."""

    images_per_s: float
    fixed_seconds: float
    spread: float
    """Difference between the slowest and the fastest of the larger runs, as a share of their median."""


def slope(few: int, many: int, few_seconds: Sequence[float], many_seconds: Sequence[float]) -> Slope:
    """Fixed and marginal cost, computed from the median durations.

    Args:
        few, many: number of images in the smaller and the larger runs.
        few_seconds, many_seconds: duration of each run, from command to exit.

    Raises:
        JobError: the larger runs did not take longer, so that the runs are too small for a result.
    """
    short, long = statistics.median(few_seconds), statistics.median(many_seconds)
    if long <= short:
        raise JobError(f"{many} images took {long:.1f} s and {few} took {short:.1f} s: raise --images to get a result")
    images_per_s = (many - few) / (long - short)
    return Slope(images_per_s, short - few / images_per_s, (max(many_seconds) - min(many_seconds)) / long)


def median_seconds(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each of `works`. They are called alternately, after an untimed first round."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 1):
        for taken, work in zip(seconds, works, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]
