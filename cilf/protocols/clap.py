"""ChaLearn LAP 2015 and 2016: the challenge's own splits, and the ε-error of apparent ages beside MAE.

The ε-error wants the annotators' standard deviation of every tested face; see cilf.evaluation.metrics.epsilon_errors.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.cacd import named_splits
from cilf.protocols.folds import Fold, Split, against

SIZES = {
    "clap2015": {"train": 2_476, "val": 1_136, "test": 1_079},
    "clap2016": {"train": 4_113, "val": 1_500, "test": 1_978},
}
UNSURE = 0.5
"""Years: with a standard deviation below it any error of note costs all in the ε-error, so such faces are counted."""


def clap(table: pa.Table, seed: int) -> Split:
    """One fold: train, val and test as the challenge has them. Nothing is drawn.

    Raises:
        UsageError: one of them has no rows.
    """
    dataset = table["dataset"][0].as_py()
    rows = named_splits(table, ("train", "val", "test"))
    notes = against([(f"faces in {part}", len(rows[part]), known) for part, known in SIZES[dataset].items()])
    stds_M = np.array([np.nan if s is None else s for s in table["age_std"].to_pylist()])[rows["test"]]
    if missing := int(np.isnan(stds_M).sum()):
        notes.append(f"{missing:,} tested faces have no standard deviation, so there is no ε-error of them")
    if narrow := int((stds_M < UNSURE).sum()):
        notes.append(f"{narrow:,} tested faces have one below half a year, on which any error costs all")
    return Split([Fold("challenge", rows["train"], rows["test"], rows["val"])], notes)
