"""What a protocol makes of a table of labelled faces: folds, each with its rows to learn from and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cilf.datasets.identifiers import identifier
from cilf.errors import UsageError

DRAWS = 5
"""Of a random split, so that a mean and its spread can be told."""

TEST_SHARE = 0.2

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Fold:
    """One fit and its test. Rows are places in the table, int64, ascending, and in one of the three at most."""

    name: str
    train: np.ndarray
    test: np.ndarray
    val: np.ndarray = field(default_factory=_NONE.copy)

    def __post_init__(self) -> None:
        rows = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(rows)) != len(rows):
            raise ValueError(f"{self.name}: a row is in two parts")
        for part, of in (("learn from", self.train), ("test on", self.test)):
            if not len(of):
                raise UsageError(f"{self.name} has no rows to {part}: the table is too small, or not of this protocol")


@dataclass(frozen=True)
class Split:
    """All folds of a protocol."""

    folds: list[Fold]
    notes: list[str]
    """What differs from the publications, a sentence each."""


def subjects_of(table: pa.Table) -> np.ndarray:
    """Who is on each row, object [N]; None where that is unknown."""
    if "subject" not in table.column_names:
        return np.full(len(table), None, object)
    return np.array([identifier(who) for who in table["subject"].to_pylist()], object)


def known_subjects(table: pa.Table, protocol: str) -> np.ndarray:
    """As `subjects_of`, where all have to be known.

    Raises:
        UsageError: some are not.
    """
    subjects_N = subjects_of(table)
    unknown = int(sum(subject is None for subject in subjects_N))
    if unknown:
        raise UsageError(f"{protocol} keeps people apart, and {unknown:,} of {len(table):,} rows have no subject")
    return subjects_N


def drawn(name: str, rows: np.ndarray, groups_N: np.ndarray, share: float, seed: int) -> Fold:
    """A fold whose test rows are whole groups drawn at random, as many as bring it nearest to a share of the rows.

    Args:
        rows: of the table, to be split.
        groups_N: a number or name for each row of the table; rows of one group stay together.
    """
    groups, group_M, sizes = np.unique(groups_N[rows].astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    count = int(np.abs(sizes[order].cumsum() - share * len(rows)).argmin()) + 1 if len(groups) else 0
    test_M = np.isin(group_M, order[:count])
    return Fold(name, rows[~test_M], rows[test_M])


def crossed(rows: np.ndarray, groups_N: np.ndarray, count: int, seed: int) -> list[Fold]:
    """Cross-validation: every row is tested on once, whole groups stay together, and folds are of nearly equal size.

    Groups go, the largest first and equals in random order, to the smallest fold so far.

    Args:
        rows: of the table, to be split.
        groups_N: as in `drawn`.
    """
    groups, group_M, sizes = np.unique(groups_N[rows].astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_G, filled = np.empty(len(groups), np.int64), np.zeros(count, np.int64)
    for group in order:
        fold_G[group] = filled.argmin()
        filled[fold_G[group]] += sizes[group]
    fold_M = fold_G[group_M]
    return [Fold(f"fold-{fold}", rows[fold_M != fold], rows[fold_M == fold]) for fold in range(count)]


def rows_of(table: pa.Table) -> np.ndarray:
    """All rows of a table: 0 .. N-1."""
    return np.arange(len(table), dtype=np.int64)


def against(published: Sequence[tuple[str, int, int]]) -> list[str]:
    """What differs, of (what, found, published)."""
    return [
        f"{found:,} {what}, where the literature has {known:,}: figures are not quite comparable"
        for what, found, known in published
        if found != known
    ]
