"""Adience's group accuracy and 1-off, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cilf.errors import UsageError
from cilf.evaluation.age_groups import ADIENCE, group_accuracy, group_of, group_probabilities, over_folds


@pytest.mark.parametrize(
    ("age", "group"),
    [(0, 0), (2.9, 0), (3, 0), (3.1, 1), (6.5, 1), (13, 2), (22, 3), (35, 4), (45, 5), (55, 6), (57, 7), (116, 7)],
)
def test_group_of_an_age(age, group):
    assert group_of(np.array([age])).tolist() == [group]


def test_a_posterior_is_summed_over_each_group_and_the_gaps_beside_it():
    posterior_NK = np.zeros((2, 101))
    posterior_NK[0, [1, 3, 4]] = 0.5, 0.2, 0.3
    posterior_NK[1, [70, 90]] = 0.25, 0.75
    found_NG = group_probabilities(posterior_NK, 0)
    assert found_NG.shape == (2, len(ADIENCE))
    assert found_NG[0, :3] == pytest.approx([0.7, 0.3, 0])
    assert found_NG[1, 7] == pytest.approx(1)
    assert group_probabilities(posterior_NK[:, 1:], 1) == pytest.approx(found_NG)


def test_accuracy_and_one_off():
    chosen, true = np.array([0, 1, 3, 7, 5]), np.array([0, 2, 1, 7, 4])
    assert group_accuracy(chosen, true) == 40
    assert group_accuracy(chosen, true, off=1) == 80


def test_mean_and_deviation_over_folds():
    chosen, true = np.array([0, 1, 2, 3, 4, 5]), np.array([0, 1, 2, 0, 5, 7])
    folds = np.array(["fold_0", "fold_0", "fold_1", "fold_1", "fold_2", "fold_2"])
    # 100, 50 and 0 per cent are right; 100, 50 and 50 at most one group off.
    assert over_folds(chosen, true, folds) == pytest.approx((50, 50))
    assert over_folds(chosen, true, folds, off=1) == pytest.approx((200 / 3, np.sqrt(2500 / 3)))
    with pytest.raises(UsageError, match="needs two at least"):
        over_folds(chosen[:2], true[:2], folds[:2])
