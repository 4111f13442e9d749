"""CACD: the test set is the celebrities of rank 3 to 5; the training set is either those above 5, or those below 3.

Only the photographs of ranks 1 to 5 were cleaned of wrong faces by hand, so both ways are published: many noisy
training rows, or few clean ones. The validation set, ranks 1 and 2, chooses the epoch in the first way, and is the
training set in the second.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.errors import UsageError
from cilf.protocols.folds import Fold, Split, against, subjects_of

PEOPLE = {"train": 1800, "val": 80, "test": 120}


def cacd(table: pa.Table, seed: int) -> Split:
    """Makes two folds, named by their training set: `train` and `val`. Nothing is drawn at random.

    Raises:
        UsageError: a split has no rows.
    """
    rows = named_splits(table, ("train", "val", "test"))
    subjects_N = subjects_of(table)
    found = [(f"people in {name}", len(set(subjects_N[rows[name]])), known) for name, known in PEOPLE.items()]
    folds = [Fold("train", rows["train"], rows["test"], rows["val"]), Fold("val", rows["val"], rows["test"])]
    return Split(folds, against(found))


def named_splits(table: pa.Table, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The rows of each of the authors' splits.

    Raises:
        UsageError: a split has no rows.
    """
    splits_N = np.array(table["split"].to_pylist(), object)
    rows = {name: np.flatnonzero(splits_N == name) for name in names}
    if missing := [name for name, found in rows.items() if not len(found)]:
        there = ", ".join(sorted({str(name) for name in splits_N})) or "none"
        raise UsageError(f"the table has no rows with split {', '.join(missing)} (splits there: {there})")
    return rows
