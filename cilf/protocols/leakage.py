"""Measures the leakage of a split: how many test rows show a person who is also in the training data.

On random splits of MORPH-II these are nine rows in ten, and an error measured there says little about other people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cilf.protocols.folds import Fold


@dataclass(frozen=True)
class Shared:
    """Counts of tested rows, and of the people on them who also appear in other rows."""

    test: int
    """Tested rows."""
    people: int
    """Known people in the tested rows."""
    unknown: int
    """Tested rows without a known person; all of them if no other row has a known person."""
    shared: int
    """Tested rows whose person also appears in other rows."""
    shared_people: int

    @property
    def share(self) -> float | None:
        """The share of `shared` among the tested rows whose person is known; None if there are none."""
        known = self.test - self.unknown
        return self.shared / known if known else None


@dataclass(frozen=True)
class Leakage(Shared):
    """The leakage of one fold. The other rows are `train` and also `val`, because it chooses the epoch."""

    fold: str
    train: int
    val: int
    """Rows."""


def shared(tested: Iterable[str | None], elsewhere: Iterable[str | None]) -> Shared:
    """Counts the tested rows whose person also appears in other rows.

    Args:
        tested: the subject of each tested row; None if unknown.
        elsewhere: the subjects of the other rows.
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
    """Counts the leakage of a fold.

    Args:
        subjects_N: the subject of each row of the table, object; None if unknown.
    """
    found = shared(subjects_N[fold.test], subjects_N[np.concatenate([fold.train, fold.val])])
    return Leakage(**asdict(found), fold=fold.name, train=len(fold.train), val=len(fold.val))


def told(found: Sequence[Shared], elsewhere: str = "is also in the training data") -> str:
    """Sums up the leakage of all folds in one sentence, to be printed with every result.

    Args:
        elsewhere: the words for a person who also appears in the other rows.
    """
    test, unknown, both = (sum(getattr(one, name) for one in found) for name in ("test", "unknown", "shared"))
    if unknown == test:
        return (
            f"Leakage unknown: none of the {test:,} tested rows, or none of the other rows, has a known person, so "
            "people may be on both sides."
        )
    known = test - unknown
    text = f"Leakage: {both:,} of {known:,} tested rows ({both / known:.1%}) show a person who {elsewhere}."
    return text + (f" For {unknown:,} more, the person is unknown." if unknown else "")


def of_one_result(
    tested: Sequence[str | None], *, learned: Iterable[str | None] | None, others: Iterable[str | None] | None
) -> dict[str, Any]:
    """The leakage record of an evaluation: the counts of `shared`, and the sentence `told`.

    Args:
        tested: the subject of each measured row; None if unknown.
        learned: the subjects in the training data, if the evaluation ends a training; else None.
        others: the subjects of rows of the same data in other splits; None: there are no such rows.
    """
    found = shared(tested, (others or ()) if learned is None else learned)
    elsewhere = "also appears in other splits of the data" if learned is None else "is also in the training data"
    words = told([found], f"{elsewhere}, {found.shared_people:,} of {found.people:,} people")
    if learned is None and others is None:
        words = "Leakage unknown: the data has only rows of this split."
    return {**asdict(found), "told": f"{words} What other data the model has seen is not known here."}
