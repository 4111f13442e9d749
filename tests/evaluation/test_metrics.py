from __future__ import annotations

import numpy as np
import pytest

from cilf.evaluation.measure import measure
from cilf.evaluation.metrics import cumulative_score, mae, summarise, within_years

AGES = np.array([10, 15, 30, 50, 70], np.float32)
ERRORS = np.array([1, -5, 6, 0, -12], np.float32)


def test_figures_against_a_hand_calculation():
    figures = summarise(AGES + ERRORS, AGES)
    assert figures["rows"] == 5
    assert figures["mae"] == pytest.approx(24 / 5)
    assert figures["cs5"] == pytest.approx(60)  # 1, 5 and 0 are within five years
    assert figures["bias"] == pytest.approx(-2)
    assert {name: value for name, value in figures.items() if name.startswith("mae ")} == {
        "mae 0-12": 1,
        "mae 13-20": 5,
        "mae 21-40": 6,
        "mae 41-60": 0,
        "mae 61+": 12,
    }


def test_cs_includes_its_bound_and_tolerates_rounding():
    ages = np.arange(0, 100, 0.1)
    assert (ages + 5 - ages > 5).any()
    assert cumulative_score(ages + 5, ages) == cumulative_score(ages - 5, ages) == 100
    assert not within_years(np.array([5.001])).any()
    assert cumulative_score(np.array([33.0]), np.array([30.0]), within=2) == 0


def test_a_card_keeps_its_figures(estimates_with):
    accepted = np.array([True, True, False, True, False])
    corrections = np.array([0, 2, 1, 0, 0], np.int32)
    figures = measure(estimates_with(AGES, ERRORS, accepted=accepted, corrections=corrections), AGES)
    assert figures["mae"] == mae(AGES + ERRORS, AGES)
    assert figures["median_absolute_error"] == 5
    assert figures["mae_before_correction"] == pytest.approx((2 + 4 + 7 + 1 + 11) / 5)
    assert figures["interval_coverage"] == {
        "all": 0.8,
        "0-12": 1.0,
        "13-20": 1.0,
        "21-40": 1.0,
        "41-60": 1.0,
        "61+": 0.0,
    }
    assert figures["interval_width"] == 16
    assert figures["accepted"] == 0.6
    assert figures["mae_accepted"] == 2
    assert figures["corrected"] == 0.4
    assert figures["expected_calibration_error"] == 0


def test_the_mae_of_no_accepted_rows_is_none(estimates_with):
    assert measure(estimates_with(AGES, ERRORS, accepted=np.zeros(5, bool)), AGES)["mae_accepted"] is None
