"""FG-NET: leave one person out, in 82 fits, as in most publications."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.protocols.folds import Fold, Split, against, known_subjects

PHOTOGRAPHS, PEOPLE = 1002, 82


def fgnet_lopo(table: pa.Table, seed: int) -> Split:
    """Makes a fold for each person, named by the subject. Nothing is drawn at random.

    Raises:
        UsageError: a row has no subject.
    """
    folds = one_out(known_subjects(table, "fgnet-lopo"))
    return Split(folds, against([("photographs", len(table), PHOTOGRAPHS), ("people", len(folds), PEOPLE)]))


def one_out(subjects_N: np.ndarray) -> list[Fold]:
    """Makes a fold for each subject in `subjects_N`, object [N], sorted by name: all its rows are tested, all others
    are trained on."""
    return [
        Fold(subject, np.flatnonzero(subjects_N != subject), np.flatnonzero(subjects_N == subject))
        for subject in sorted(set(subjects_N))
    ]
