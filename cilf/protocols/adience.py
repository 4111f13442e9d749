"""Adience: the five folds of its authors, each tested on by what the other four have taught.

What is told of it are group accuracy and 1-off, cilf.evaluation.age_groups, as mean and standard deviation over folds.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.cacd import named_splits
from cilf.protocols.folds import Fold, Split, against

FOLDS = tuple(f"fold_{number}" for number in range(5))
FACES = 18_734
"""Of 19,487 in the five lists, 753 have no age. Many publications take the 17,470 that face the camera instead."""


def adience(table: pa.Table, seed: int) -> Split:
    """Five folds. Nothing is drawn.

    Raises:
        UsageError: a fold has no rows.
    """
    rows = named_splits(table, FOLDS)
    folds = [
        Fold(name, np.sort(np.concatenate([rows[other] for other in FOLDS if other != name])), rows[name])
        for name in FOLDS
    ]
    return Split(folds, against([("faces", sum(map(len, rows.values())), FACES)]))
