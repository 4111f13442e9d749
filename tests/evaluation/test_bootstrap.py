from __future__ import annotations

import time

import numpy as np
import pytest

from cilf.evaluation.bootstrap import interval, resample


def test_resamples_are_those_of_a_plain_loop():
    values = np.array([[5.0, 1], [1, 0], [9, 1], [2, 0]])
    group = np.array([0, 2, 3])
    got = resample(values, [np.arange(4), group], np.arange(4), resamples=200, seed=3)
    draws = np.random.default_rng(3).integers(4, size=(200, 4))
    for rows, means, medians in zip(draws, got.means_RGK, got.medians_RG, strict=True):
        assert means[0] == pytest.approx(values[rows].mean(axis=0))
        assert medians[0] == np.median(values[rows, 0])
        of_group = rows[np.isin(rows, group)]
        if len(of_group):
            assert means[1] == pytest.approx(values[of_group].mean(axis=0))
            assert medians[1] == np.median(values[of_group, 0])
        else:
            assert np.isnan(means[1]).all()
            assert np.isnan(medians[1])


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        errors = random.exponential(5, (200, 1))
        low, high = interval(
            resample(errors, [np.arange(200)], np.arange(200), resamples=300, seed=trial).means_RGK[:, 0, 0]
        )
        held += low <= 5 <= high
    assert 0.89 <= held / 200 <= 0.985


def test_correlated_errors_of_a_subject_widen_the_interval():
    random = np.random.default_rng(2)
    subjects = np.repeat(np.arange(40), 25)
    truth, by_row, by_subject = 5.0, [], 0
    for trial in range(60):
        errors = (truth + random.normal(0, 2, 40)[subjects] + random.normal(0, 1, 1000))[:, None]
        rows = [np.arange(1000)]
        alone = interval(resample(errors, rows, np.arange(1000), resamples=200, seed=trial).means_RGK[:, 0, 0])
        together = interval(resample(errors, rows, subjects, resamples=200, seed=trial).means_RGK[:, 0, 0])
        assert together[1] - together[0] > 2 * (alone[1] - alone[0])
        by_subject += together[0] <= truth <= together[1]
        by_row.append(alone[0] <= truth <= alone[1])
    assert by_subject >= 50
    assert sum(by_row) < 40  # intervals over rows are too narrow


def test_too_few_subjects_have_no_interval():
    got = resample(np.ones((60, 1)), [np.arange(30), np.arange(60)], np.repeat([0, 1], 30))
    assert interval(got.means_RGK[:, 0, 0]) is None
    assert interval(got.means_RGK[:, 1, 0]) == (1, 1)


def test_resamples_depend_only_on_the_seed():
    values, rows, units = np.random.default_rng(0).random((50, 1)), [np.arange(50)], np.arange(50)
    first, again, other = (resample(values, rows, units, seed=seed).means_RGK for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_it_is_quick():
    values = np.random.default_rng(0).random((2000, 9))
    groups = [np.arange(2000), *np.array_split(np.arange(2000), 5), *np.array_split(np.arange(2000), 10)]
    started = time.process_time()
    resample(values, groups, np.arange(2000))
    assert time.process_time() - started < 3
