"""Unit of estimates, years or ranks, and the bands of true values by which errors are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cilf.age_space import AgeSpace
from cilf.evaluation.metrics import BANDS

_BANDS = 12
"""Largest number of bands; more ranks are merged, because each band is a line of every table and plot."""


@dataclass(frozen=True)
class Scale:
    """The unit of estimates, years of age or ranks, and its bands."""

    unit: str
    """`years` or `ranks`."""
    by: str
    """What bands divide: `age` or `rank`."""
    bands: Mapping[str, tuple[float, float]]
    """Bands by name: the lowest true value in the band, and the first value above it."""

    @property
    def ranks(self) -> bool:
        return self.by == "rank"


YEARS = Scale("years", "age", BANDS)


def scale_of(space: AgeSpace) -> Scale:
    """YEARS, or, if the classes have names, ranks with a band for each name or for several consecutive names."""
    if space.names is None:
        return YEARS
    bands = {}
    for part in np.array_split(np.arange(len(space)), min(len(space), _BANDS)):
        first, last = int(part[0]), int(part[-1])
        name = space.names[first] if first == last else f"{space.names[first]} to {space.names[last]}"
        bands[name] = (space.youngest + first - 0.5, space.youngest + last + 0.5)
    return Scale("ranks", "rank", bands)
