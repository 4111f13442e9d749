"""Whether a test is one of strangers: how many tested rows show a person who is learned from.

On random splits of MORPH-II that is nine rows in ten, and an error measured there says little about other people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cilf.protocols.folds import Fold


@dataclass(frozen=True)
class Shared:
    """Rows that are tested on, and people on them who stand elsewhere too."""

    test: int
    """Rows."""
    people: int
    """Known people who are tested on."""
    unknown: int
    """Tested rows that do not tell who it is; or all of them, where no other row does."""
    shared: int
    """Tested rows whose person stands elsewhere too."""
    shared_people: int

    @property
    def share(self) -> float | None:
        """Of the tested rows whose person is known; None where none is."""
        known = self.test - self.unknown
        return self.shared / known if known else None


@dataclass(frozen=True)
class Leakage(Shared):
    """Of one fold. Elsewhere is in `train` or, as it chooses the epoch, in `val`."""

    fold: str
    train: int
    val: int
    """Rows."""


def shared(tested: Iterable[str | None], elsewhere: Iterable[str | None]) -> Shared:
    """Count.

    Args:
        tested: who is on each tested row; None where unknown.
        elsewhere: who is on others.
    """
    others = {subject for subject in elsewhere if subject is not None}
    all_tested = list(tested)
    known = [subject for subject in all_tested if subject is not None] if others else []
    people = set(known)
    return Shared(
        test=len(all_tested),
        people=len(people),
        unknown=len(all_tested) - len(known),
        shared=sum(subject in others for subject in known),
        shared_people=len(people & others),
    )


def leakage(fold: Fold, subjects_N: np.ndarray) -> Leakage:
    """Count.

    Args:
        subjects_N: who is on each row of the table, object; None where unknown.
    """
    found = shared(subjects_N[fold.test], subjects_N[np.concatenate([fold.train, fold.val])])
    return Leakage(**asdict(found), fold=fold.name, train=len(fold.train), val=len(fold.val))


def told(found: Sequence[Shared], elsewhere: str = "is also learned from") -> str:
    """All folds in one sentence, to be printed with every result.

    Args:
        elsewhere: what it means that a person stands elsewhere too.
    """
    test, unknown, both = (sum(getattr(one, name) for one in found) for name in ("test", "unknown", "shared"))
    if unknown == test:
        return (
            f"Leakage unknown: none of the {test:,} tested rows, or none of the others, tells who it is, so people may "
            "be on both sides."
        )
    known = test - unknown
    text = f"Leakage: {both:,} of {known:,} tested rows ({both / known:.1%}) show a person who {elsewhere}."
    return text + (f" Of {unknown:,} more nobody knows." if unknown else "")


def of_one_result(
    tested: Sequence[str | None], *, learned: Iterable[str | None] | None, others: Iterable[str | None] | None
) -> dict[str, Any]:
    """What an evaluation says of its leakage: the counts of `shared`, and `told`.

    Args:
        tested: who is on each measured row; None where unknown.
        learned: who is learned from, where the evaluation ends a training; else None.
        others: who is on the rows that stand in the same data and in another split; None: there are no such rows.
    """
    found = shared(tested, (others or ()) if learned is None else learned)
    elsewhere = "also stands in other splits of the data" if learned is None else "is also learned from"
    words = told([found], f"{elsewhere}, {found.shared_people:,} of {found.people:,} people")
    if learned is None and others is None:
        words = "Leakage unknown: the data has rows of this split alone."
    return {**asdict(found), "told": f"{words} What else the model has seen is not known here."}
