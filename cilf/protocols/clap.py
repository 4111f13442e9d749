"""ChaLearn LAP 2015 and 2016: the challenge's own splits, with the ε-error of apparent ages in addition to MAE.

The ε-error needs the annotators' standard deviation for every test face; see cilf.evaluation.metrics.epsilon_errors.
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
"""Years. With a standard deviation below this, any notable error gives nearly the maximum ε-error, so a note counts
such faces."""


def clap(table: pa.Table, seed: int) -> Split:
    """Makes one fold with the challenge's own train, val and test. Nothing is drawn at random.

    Raises:
        UsageError: one of the splits has no rows.
    """
    dataset = table["dataset"][0].as_py()
    rows = named_splits(table, ("train", "val", "test"))
    notes = against([(f"faces in {part}", len(rows[part]), known) for part, known in SIZES[dataset].items()])
    stds_M = np.array([np.nan if s is None else s for s in table["age_std"].to_pylist()])[rows["test"]]
    if missing := int(np.isnan(stds_M).sum()):
        notes.append(f"{missing:,} tested faces have no standard deviation, so they have no ε-error")
    if narrow := int((stds_M < UNSURE).sum()):
        notes.append(f"{narrow:,} tested faces have a deviation below half a year, so any error counts in full")
    return Split([Fold("challenge", rows["train"], rows["test"], rows["val"])], notes)
