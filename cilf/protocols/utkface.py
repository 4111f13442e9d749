"""UTKFace: 80 % and 20 % at random, for ages 21 to 60 (CORAL, MWR) or for all ages. The two must not be compared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.folds import TEST_SHARE, Split, against, drawn
from cilf.protocols.lists import Lists

ADULTS = (21, 60)
ADULT_FACES = 13_146 + 3_287
"""Number of faces in the lists of CORAL's authors."""


def adults(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes one draw of ages 21 to 60."""
    if lists is not None:
        return lists.pairs(table)
    ages_N = table["age"].to_numpy()
    rows = np.flatnonzero((ages_N >= ADULTS[0]) & (ages_N <= ADULTS[1]))
    return _one_draw(rows, seed, against([("faces of 21 to 60", len(rows), ADULT_FACES)]))


def everybody(table: pa.Table, seed: int) -> Split:
    """Makes one draw of all ages. Publications differ in the draw, and in which of the 23,708 faces they keep."""
    return _one_draw(np.arange(len(table)), seed, [])


def _one_draw(rows: np.ndarray, seed: int, notes: list[str]) -> Split:
    count = int(rows.max()) + 1 if len(rows) else 0
    return Split([drawn("draw-0", rows, np.arange(count), TEST_SHARE, seed)], notes)
