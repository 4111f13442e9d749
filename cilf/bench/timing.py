"""Seconds -> figures: medians in turns, and a run's fixed and marginal cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cilf.errors import JobError


@dataclass(frozen=True)
class Slope:
    """What a run costs, from its seconds at two sizes: fixed_seconds + images / images_per_s."""

    images_per_s: float
    fixed_seconds: float
    spread: float
    """Of the larger runs: slowest less fastest, as a share of their median."""


def slope(few: int, many: int, few_seconds: Sequence[float], many_seconds: Sequence[float]) -> Slope:
    """Fixed and marginal cost from the medians.

    Args:
        few, many: images of the smaller and the larger runs.
        few_seconds, many_seconds: of each run, from command to exit.

    Raises:
        JobError: the larger runs took no longer: they are too small to tell.
    """
    short, long = statistics.median(few_seconds), statistics.median(many_seconds)
    if long <= short:
        raise JobError(f"{many} images took {long:.1f} s and {few} took {short:.1f} s: raise --images to tell more")
    images_per_s = (many - few) / (long - short)
    return Slope(images_per_s, short - few / images_per_s, (max(many_seconds) - min(many_seconds)) / long)


def median_seconds(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each, taken in turns after a first round that counts for nothing."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 1):
        for taken, work in zip(seconds, works, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]
