"""Random splits, which any data set can be put through, and the same by person."""

from __future__ import annotations

import pyarrow as pa

from cilf.protocols.folds import DRAWS, TEST_SHARE, Split, drawn, known_subjects, rows_of


def random_80_20(table: pa.Table, seed: int) -> Split:
    """Five draws of 80 % of the rows to learn from and 20 % to test on. People are on both sides."""
    rows = rows_of(table)
    return Split([drawn(f"draw-{n}", rows, rows, TEST_SHARE, seed + n) for n in range(DRAWS)], [])


def subjects_80_20(table: pa.Table, seed: int) -> Split:
    """Five draws of about 80 % and 20 % of the rows by whole people.

    Raises:
        UsageError: a row has no subject.
    """
    subjects_N = known_subjects(table, "subjects-80-20")
    return Split([drawn(f"draw-{n}", rows_of(table), subjects_N, TEST_SHARE, seed + n) for n in range(DRAWS)], [])
