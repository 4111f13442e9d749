"""CACD: celebrities of rank 3 to 5 are tested on; learned from are either all others, or those of rank 1 and 2.

The photographs of the last two groups alone were cleaned of wrong faces by hand, so both ways are published: many noisy
rows, or few clean ones. The validation set chooses the epoch in the first way, and is learned from in the second.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.errors import UsageError
from cilf.protocols.folds import Fold, Split, against, subjects_of

PEOPLE = {"train": 1800, "val": 80, "test": 120}


def cacd(table: pa.Table, seed: int) -> Split:
    """Two folds, by what is learned from: `train` and `val`. Nothing is drawn.

    Raises:
        UsageError: the rows tell no split.
    """
    rows = named_splits(table, ("train", "val", "test"))
    subjects_N = subjects_of(table)
    found = [(f"people in {name}", len(set(subjects_N[rows[name]])), known) for name, known in PEOPLE.items()]
    folds = [Fold("train", rows["train"], rows["test"], rows["val"]), Fold("val", rows["val"], rows["test"])]
    return Split(folds, against(found))


def named_splits(table: pa.Table, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The rows of each of the authors' splits.

    Raises:
        UsageError: one has none.
    """
    splits_N = np.array(table["split"].to_pylist(), object)
    rows = {name: np.flatnonzero(splits_N == name) for name in names}
    if missing := [name for name, found in rows.items() if not len(found)]:
        there = ", ".join(sorted({str(name) for name in splits_N})) or "none"
        raise UsageError(f"the table has no rows with split {', '.join(missing)} (splits there: {there})")
    return rows
