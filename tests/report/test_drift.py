"""Drift is raised by drift and not by chance, however few faces there are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from cilf.report.drift import LEVEL, compare

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
