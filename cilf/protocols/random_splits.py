"""Random splits by row and by person, for any data set."""

from __future__ import annotations

import pyarrow as pa

from cilf.protocols.folds import DRAWS, TEST_SHARE, Split, drawn, known_subjects, rows_of


def random_80_20(table: pa.Table, seed: int) -> Split:
    """Makes five draws of 80 % of the rows for training and 20 % for testing. The same people are on both sides."""
    rows = rows_of(table)
    return Split([drawn(f"draw-{n}", rows, rows, TEST_SHARE, seed + n) for n in range(DRAWS)], [])


def subjects_80_20(table: pa.Table, seed: int) -> Split:
    """Makes five draws of about 80 % and 20 % of the rows that keep each person on one side.

    Raises:
        UsageError: a row has no subject.
    """
    subjects_N = known_subjects(table, "subjects-80-20")
    return Split([drawn(f"draw-{n}", rows_of(table), subjects_N, TEST_SHARE, seed + n) for n in range(DRAWS)], [])
