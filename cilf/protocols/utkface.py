"""UTKFace: 80 % and 20 % at random, of ages 21 to 60 (CORAL, MWR) or of all: two protocols, never to be compared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.folds import TEST_SHARE, Split, against, drawn
from cilf.protocols.lists import Lists

ADULTS = (21, 60)
ADULT_FACES = 13_146 + 3_287
"""In the lists of CORAL's authors."""


def adults(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Ages 21 to 60, one draw."""
    if lists is not None:
        return lists.pairs(table)
    ages_N = table["age"].to_numpy()
    rows = np.flatnonzero((ages_N >= ADULTS[0]) & (ages_N <= ADULTS[1]))
    return _one_draw(rows, seed, against([("faces of 21 to 60", len(rows), ADULT_FACES)]))


def everybody(table: pa.Table, seed: int) -> Split:
    """All ages, one draw. Publications differ in the draw, and in which faces of the 23,708 they keep."""
    return _one_draw(np.arange(len(table)), seed, [])


def _one_draw(rows: np.ndarray, seed: int, notes: list[str]) -> Split:
    count = int(rows.max()) + 1 if len(rows) else 0
    return Split([drawn("draw-0", rows, np.arange(count), TEST_SHARE, seed)], notes)
