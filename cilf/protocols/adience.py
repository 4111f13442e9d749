"""Adience: cross-validation over the five folds of its authors; each is tested by a model trained on the other four.

Publications report group accuracy and 1-off, cilf.evaluation.age_groups, as mean and standard deviation over folds.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.cacd import named_splits
from cilf.protocols.folds import Fold, Split, against

FOLDS = tuple(f"fold_{number}" for number in range(5))
FACES = 18_734
"""Faces with an age: 753 of the 19,487 in the five lists have none. Many publications use the 17,470 frontal faces."""


def adience(table: pa.Table, seed: int) -> Split:
    """Makes the five folds. Nothing is drawn at random.

    Raises:
        UsageError: a fold has no rows.
    """
    rows = named_splits(table, FOLDS)
    folds = [
        Fold(name, np.sort(np.concatenate([rows[other] for other in FOLDS if other != name])), rows[name])
        for name in FOLDS
    ]
    return Split(folds, against([("faces", sum(map(len, rows.values())), FACES)]))
