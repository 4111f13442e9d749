"""Drift is reported if there is drift, and not by chance, however few faces there are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from cilf.report.drift import LEVEL, compare, judge

PER_YEAR = 2
BINS = 250


def histogram(ages: np.ndarray) -> list[int]:
    return np.histogram(ages, np.arange(BINS + 1) / PER_YEAR)[0].tolist()


def drawn(random: np.random.Generator, mean: float, faces: int) -> np.ndarray:
    # On the grid of the bins, so that nothing is lost in them.
    return (np.clip(random.normal(mean, 12, faces), 0, 124) * PER_YEAR).round() / PER_YEAR


@pytest.mark.parametrize("faces", [30, 100, 1000, 20_000])
def test_chance_alone_raises_nothing(faces):
    random, nights = np.random.default_rng(faces), 2000
    shares = np.array(histogram(drawn(random, 40, 100_000))) / 100_000
    now = random.multinomial(faces, shares, nights)
    before = random.multinomial(7 * faces, shares, nights)
    found = [compare(*pair, PER_YEAR) for pair in zip(now, before, strict=True)]
    assert sum(drift.ks > drift.ks_by_chance for drift in found) <= 4 * LEVEL * nights
    assert sum(drift.psi > drift.psi_by_chance for drift in found) <= 4 * LEVEL * nights
    assert not any(drift.raised for drift in found)


def test_a_night_of_other_people_is_drift():
    random = np.random.default_rng(0)
    drift = compare(histogram(drawn(random, 25, 500)), histogram(drawn(random, 40, 3000)), PER_YEAR)
    assert drift.raised
    assert drift.shift == pytest.approx(-15, abs=2)
    assert drift.verdict.startswith("Drift")
    assert "younger" in drift.verdict


def test_a_small_shift_in_many_faces_is_told_and_not_raised():
    random = np.random.default_rng(0)
    drift = compare(histogram(drawn(random, 41, 50_000)), histogram(drawn(random, 40, 50_000)), PER_YEAR)
    assert not drift.raised
    assert drift.verdict.startswith("No drift, but a shift")
    assert "1.0 years older" in drift.verdict


def nights(means: list[float], seed: int, faces: int = 300) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [histogram(drawn(random, mean, faces)) for mean in means]


def raised(runs: list[list[int]]) -> list[int]:
    """The runs that are reported as drift, each judged as the newest of its day."""
    return [number for number in range(len(runs)) if judge(runs[: number + 1], 7, PER_YEAR)[1].raised]


def test_an_odd_night_is_raised_and_the_usual_ones_after_it_are_not():
    runs = nights([40] * 7 + [8] + [40] * 8, seed=1)
    assert raised(runs) == [7]
    compared, drift = judge(runs[:9], 7, PER_YEAR)
    assert compared == list(range(7)), "the odd one does not count"
    assert drift.verdict.startswith("No drift:")
    # Against all seven before it, with the odd one among them, the usual night would be drift.
    assert compare(runs[8], np.sum(runs[1:8], axis=0), PER_YEAR).raised


def test_a_change_that_stays_is_raised_once():
    runs = nights([40] * 7 + [8] * 5, seed=2)
    assert raised(runs) == [7]
    assert judge(runs, 7, PER_YEAR)[1].verdict.startswith("No new drift: the newest ages differ from the usual ones")
    assert raised(nights([40] * 7 + [8] * 3 + [70] * 2 + [40] * 2 + [8], seed=3)) == [7, 10]


def test_a_change_night_by_night_is_raised_once_it_is_large():
    first, *later = raised(nights([40 + 2 * night for night in range(10)], seed=4))
    assert 3 <= first <= 8
    assert not later


def test_the_first_runs_and_small_ones_are_no_drift():
    assert judge(nights([40], seed=5), 7, PER_YEAR)[0] == []
    assert raised(nights([40, 8, 70], seed=5, faces=20)) == []


def test_too_few_faces_say_nothing():
    drift = compare(histogram(np.full(29, 5.0)), histogram(np.full(3000, 50.0)), PER_YEAR)
    assert not drift.raised
    assert "Too few" in drift.verdict
    assert not compare([0] * BINS, [1] * BINS, PER_YEAR).raised


def test_the_statistics_are_the_textbooks():
    random = np.random.default_rng(3)
    now, before = drawn(random, 45, 800), drawn(random, 40, 5000)
    drift = compare(histogram(now), histogram(before), PER_YEAR)
    assert drift.ks == pytest.approx(ks_2samp(now, before).statistic, abs=1e-12)
    edges = [*range(0, 90, 10), math.inf]
    p = (np.histogram(now, edges)[0] + 0.5) / (800 + 4.5)
    q = (np.histogram(before, edges)[0] + 0.5) / (5000 + 4.5)
    assert drift.psi == pytest.approx(((p - q) * np.log(p / q)).sum())
