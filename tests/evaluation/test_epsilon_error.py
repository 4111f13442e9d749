"""ε-error and CS(θ), from their equations one face at a time."""

import math

import numpy as np
import pytest

from cilf.errors import UsageError
from cilf.evaluation.metrics import cumulative_score, epsilon_error


@pytest.mark.parametrize("seed", range(3))
def test_both_are_their_equations(seed):
    random = np.random.default_rng(seed)
    means, stds = random.uniform(0, 90, 40), random.uniform(0.3, 8, 40)
    estimates = (means + random.normal(0, 5, 40)).astype(np.float32)
    off, within = 0.0, 0
    for x, mean, std in zip(estimates.tolist(), means, stds, strict=True):
        off += (1 - math.exp(-((x - mean) ** 2) / (2 * std**2))) / 40
        within += abs(x - mean) <= 5
    assert epsilon_error(estimates, means, stds) == pytest.approx(off, rel=1e-9)
    assert cumulative_score(estimates, means) == pytest.approx(100 * within / 40)
    assert 0 < within < 40


def test_annotators_who_agree_wholly_are_no_division_by_zero():
    means, stds = np.array([30.0, 40.0]), np.zeros(2)
    assert epsilon_error(means, means, stds) == 0
    assert epsilon_error(means + np.array([0, 1]), means, stds) == 0.5


@pytest.mark.parametrize(("stds", "found"), [([1.0, -1.0], "1 of 2"), ([np.nan, np.nan], "2 of 2"), ([], "no faces")])
def test_wrong_deviations_are_refused(stds, found):
    ages = np.full(len(stds), 30.0)
    with pytest.raises(UsageError, match=found):
        epsilon_error(ages, ages, np.array(stds))
