"""The folds that a protocol makes from a table of labelled faces, each with its training and test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cilf.datasets.identifiers import identifier
from cilf.errors import UsageError

DRAWS = 5
"""Number of draws of a random split, so that a mean and its spread can be reported."""

TEST_SHARE = 0.2

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Fold:
    """The rows of one fit and its test: indices into the table, int64, ascending, each in at most one part."""

    name: str
    train: np.ndarray
    test: np.ndarray
    val: np.ndarray = field(default_factory=_NONE.copy)

    def __post_init__(self) -> None:
        rows = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(rows)) != len(rows):
            raise ValueError(f"{self.name}: a row is in two parts")
        for part, of in (("train on", self.train), ("test on", self.test)):
            if not len(of):
                raise UsageError(f"{self.name} has no rows to {part}: the table is too small, or of another protocol")


@dataclass(frozen=True)
class Split:
    """All folds of a protocol."""

    folds: list[Fold]
    notes: list[str]
    """Differences from the publications, a sentence each."""


def subjects_of(table: pa.Table) -> np.ndarray:
    """The subject of each row, object [N]; None if unknown."""
    if "subject" not in table.column_names:
        return np.full(len(table), None, object)
    return np.array([identifier(who) for who in table["subject"].to_pylist()], object)


def known_subjects(table: pa.Table, protocol: str) -> np.ndarray:
    """Like `subjects_of`, but all subjects must be known.

    Raises:
        UsageError: a row has no subject.
    """
    subjects_N = subjects_of(table)
    unknown = int(sum(subject is None for subject in subjects_N))
    if unknown:
        raise UsageError(f"{protocol} splits by person, but {unknown:,} of {len(table):,} rows have no subject")
    return subjects_N


def drawn(name: str, rows: np.ndarray, groups_N: np.ndarray, share: float, seed: int) -> Fold:
    """Makes a fold whose test rows are whole groups drawn at random; their number comes as near to `share` as possible.

    Args:
        rows: the rows of the table to split.
        groups_N: a number or name for each row of the table; rows of one group stay together.
    """
    groups, group_M, sizes = np.unique(groups_N[rows].astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    count = int(np.abs(sizes[order].cumsum() - share * len(rows)).argmin()) + 1 if len(groups) else 0
    test_M = np.isin(group_M, order[:count])
    return Fold(name, rows[~test_M], rows[test_M])


def crossed(rows: np.ndarray, groups_N: np.ndarray, count: int, seed: int) -> list[Fold]:
    """Makes cross-validation folds of nearly equal size: every row is tested once, and groups stay whole.

    Each group goes to the fold that is smallest so far, the largest groups first and equal ones in random order.

    Args:
        rows: the rows of the table to split.
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
    """A sentence for each (what, found, published) whose counts differ."""
    return [
        f"{found:,} {what}, where the literature has {known:,}: figures are not quite comparable"
        for what, found, known in published
        if found != known
    ]
