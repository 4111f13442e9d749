"""What estimates are counted in, years or ranks of another kind, and the bands that errors are told by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cilf.ages import AgeSpace
from cilf.evaluation.metrics import BANDS

_BANDS = 12
"""More ranks are put together to this many bands: each is a line of every table and plot."""


@dataclass(frozen=True)
class Scale:
    """Years of age, or ranks."""

    unit: str
    """`years` or `ranks`."""
    by: str
    """What a band is one of: `age` or `rank`."""
    bands: Mapping[str, tuple[float, float]]
    """By name: the lowest true value in it, and the first above it."""

    @property
    def ranks(self) -> bool:
        return self.by == "rank"


YEARS = Scale("years", "age", BANDS)


def scale_of(space: AgeSpace) -> Scale:
    """Years, or where the classes have names, a band of each name, or of some that follow one another."""
    if space.names is None:
        return YEARS
    bands = {}
    for part in np.array_split(np.arange(len(space)), min(len(space), _BANDS)):
        first, last = int(part[0]), int(part[-1])
        name = space.names[first] if first == last else f"{space.names[first]} to {space.names[last]}"
        bands[name] = (space.youngest + first - 0.5, space.youngest + last + 0.5)
    return Scale("ranks", "rank", bands)
