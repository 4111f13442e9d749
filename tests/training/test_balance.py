"""Ages and groups of ages by whole years."""

import numpy as np
import pyarrow as pa
import pytest

from cilf.datasets.age_groups import AgeGroup
from cilf.datasets.labels import OLDEST
from cilf.training.balance import age_weights, bounds, mean_of_years
from cilf.training.choosing import figures


def weighed(ages, balance, times=None):
    ages_N = np.array(ages, np.float32)
    return age_weights(ages_N, ages_N, np.ones(len(ages_N)) if times is None else times, balance, OLDEST)


def test_rare_ages_weigh_more_within_bounds_and_the_mean_is_one():
    ages = np.array([30.0] * 900 + [80.0] * 100)
    weights = weighed(ages, 0.5)
    assert weights[80] > 2 * weights[30]
    assert weights[ages.astype(int)].mean() == pytest.approx(1)
    assert weights.max() / weights.min() <= 5.01
    assert np.allclose(weighed(ages, 0.0), 1)


def test_a_row_shown_often_counts_as_often():
    assert np.allclose(weighed([30, 80], 0.5, np.array([9.0, 1.0])), weighed([30] * 9 + [80], 0.5))


def test_a_group_is_spread_over_its_years():
    ends = np.array([20.0] * 10, np.float32), np.array([29.0] * 10, np.float32)
    spread = age_weights(*ends, np.ones(10), 0.5, OLDEST)
    assert np.allclose(spread, weighed(range(20, 30), 0.5))
    mean = mean_of_years(spread, np.array([20.0, 25.0]), np.array([29.0, 25.0]))
    assert mean == pytest.approx([spread[20:30].mean(), spread[25]])


def test_the_ends_of_a_row_are_its_group_or_its_age():
    columns = {"age": [30.5, 24.5, 85.0, 110.0], "age_low": [None, 20, 70, 110], "age_high": [None, 29, None, None]}
    table = pa.table({name: pa.array(values, pa.float32()) for name, values in columns.items()})
    low, high = bounds(table, 100)
    assert low.tolist() == [30.5, 20, 70, 110]
    assert high.tolist() == [30.5, 29, 100, 110]


GROUPS = [AgeGroup(0, 9), AgeGroup(10, 19), AgeGroup(20, None)]


def test_progress_counts_ages_by_years_and_groups_by_group():
    estimates = np.array([31.0, 5.0, 25.0, 50.0, 3.0])
    age, low, high = np.array([[30, 30, 30], [4.5, 0, 9], [14.5, 10, 19], [60, 20, 100], [50, 40, 60]]).T
    said = figures(estimates, age, low, high, GROUPS, {})
    assert (said["rows"], said["mae"]) == (1, 1)
    assert (said["group_rows"], said["accuracy"], said["one_off"]) == (3, pytest.approx(200 / 3), 100)
    assert "mae" not in figures(estimates[1:], age[1:], low[1:], high[1:], GROUPS, {})
    assert "accuracy" not in figures(estimates, age, low, high, [], {})
