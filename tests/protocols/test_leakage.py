"""Counts of tested rows that show a person in the training data."""

from __future__ import annotations

import numpy as np

from cilf.protocols.folds import Fold
from cilf.protocols.leakage import leakage, told

SUBJECTS = np.array(["a", "a", "b", "b", "c", None, "a", None], object)


def test_it_counts_rows_and_people():
    found = leakage(Fold("x", np.array([0, 2]), np.array([1, 3, 4, 5, 6])), SUBJECTS)
    assert (found.train, found.test, found.people, found.unknown) == (2, 5, 3, 1)
    assert (found.shared, found.shared_people) == (3, 2)
    assert found.share == 3 / 4
    assert told([found]) == (
        "Leakage: 3 of 4 tested rows (75.0%) show a person who is also in the training data. "
        "For 1 more, the person is unknown."
    )


def test_people_in_the_validation_set_count_as_training_data():
    found = leakage(Fold("x", np.array([2]), np.array([1]), np.array([0])), SUBJECTS)
    assert found.shared == 1


def test_strangers():
    found = leakage(Fold("x", np.array([2, 3]), np.array([0, 1, 4])), SUBJECTS)
    assert told([found]) == "Leakage: 0 of 3 tested rows (0.0%) show a person who is also in the training data."


def test_leakage_is_unknown_without_subjects():
    for train, test in (([0], [5, 7]), ([5], [0, 1])):
        found = leakage(Fold("x", np.array(train), np.array(test)), SUBJECTS)
        assert (found.share, found.unknown) == (None, 2)
        assert told([found]).startswith("Leakage unknown: none of the 2 tested rows")
