"""Whether a test is one of strangers: how many tested rows show a person who is learned from.

On random splits of MORPH-II that is nine rows in ten, and an error measured there says little about other people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cilf.protocols.folds import Fold


@dataclass(frozen=True)
class Leakage:
    """Of one fold."""

    fold: str
    train: int
    val: int
    test: int
    """Rows."""
    people: int
    """Known people who are tested on."""
    unknown: int
    """Tested rows that do not tell who it is; or all of them, where no row to learn from does."""
    shared: int
    """Tested rows whose person is learned from: in `train` or, as it chooses the epoch, in `val`."""
    shared_people: int

    @property
    def share(self) -> float | None:
        """Of the tested rows whose person is known; None where none is."""
        known = self.test - self.unknown
        return self.shared / known if known else None


def leakage(fold: Fold, subjects_N: np.ndarray) -> Leakage:
    """Count.

    Args:
        subjects_N: who is on each row of the table, object; None where unknown.
    """
    learned = {s for s in subjects_N[np.concatenate([fold.train, fold.val])] if s is not None}
    tested = [s for s in subjects_N[fold.test] if s is not None] if learned else []
    people = set(tested)
    return Leakage(
        fold=fold.name,
        train=len(fold.train),
        val=len(fold.val),
        test=len(fold.test),
        people=len(people),
        unknown=len(fold.test) - len(tested),
        shared=sum(subject in learned for subject in tested),
        shared_people=len(people & learned),
    )


def told(found: Sequence[Leakage]) -> str:
    """All folds in one sentence, to be printed with every result."""
    test, unknown, shared = (sum(getattr(one, name) for one in found) for name in ("test", "unknown", "shared"))
    if unknown == test:
        return f"Leakage unknown: of {test:,} tested rows none tells who it is, so people may be on both sides."
    known = test - unknown
    text = (
        f"Leakage: {shared:,} of {known:,} tested rows ({shared / known:.1%}) show a person who is also learned from."
    )
    return text + (f" Of {unknown:,} more nobody knows." if unknown else "")
