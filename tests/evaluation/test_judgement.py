from __future__ import annotations

import numpy as np
import pytest

from cilf.evaluation.judgement import aurc, calibration_error, equal_bins, risk_coverage


def test_risk_coverage_against_a_hand_calculation():
    errors, expected = np.array([6.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0])
    assert risk_coverage(errors, expected) == pytest.approx([2, 1.5, 3])
    assert aurc(errors, expected) == pytest.approx(6.5 / 3)


def test_the_order_of_ties_does_not_matter():
    errors = np.array([4.0, 0.0, 10.0])
    for order in ([0, 1, 2], [1, 0, 2]):
        assert risk_coverage(errors[order], np.array([1.0, 1.0, 2.0])) == pytest.approx([2, 2, 14 / 3])


def test_a_perfect_judge_beats_a_blind_one_and_a_contrary_one_is_worst():
    random = np.random.default_rng(0)
    errors = random.exponential(5, 20_000)
    perfect, contrary = aurc(errors, errors), aurc(errors, -errors)
    # For exponential errors, the mean of the lowest share c is 5 (1 + (1 - c) ln(1 - c) / c). The mean over c:
    assert perfect == pytest.approx(5 * (2 - np.pi**2 / 6), rel=0.02)
    blind = np.mean([aurc(errors, random.permutation(len(errors))) for _ in range(20)])
    assert blind == pytest.approx(errors.mean(), rel=0.02)
    assert perfect < blind < contrary
    assert aurc(errors, np.zeros(len(errors))) == pytest.approx(errors.mean())


def test_bins_hold_every_row_once_in_order():
    expected = np.random.default_rng(0).permutation(47).astype(float)
    bins = equal_bins(expected)
    assert sorted({len(rows) for rows in bins}) == [4, 5]
    assert [expected[row] for rows in bins for row in rows] == sorted(expected)
    assert len(equal_bins(np.arange(3.0))) == 3


def test_calibration_error_is_in_years_and_weighted_by_rows():
    expected = np.repeat(np.arange(1.0, 11), 20)
    assert calibration_error(expected, expected) == 0
    assert calibration_error(expected + 2, expected) == pytest.approx(2)
    off = expected.copy()
    off[:20] += 3  # in one bin of ten
    assert calibration_error(off, expected) == pytest.approx(0.3)
