from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.models.conformal import (
    band_quantiles,
    bands_of,
    clustered_mean,
    conformal_quantile,
    widen,
)

EDGES = (12.5, 20.5, 40.5, 60.5)


@given(st.integers(19, 300), st.floats(0.05, 0.5), st.integers(0, 99))
def test_quantile_is_the_textbook_rank_with_one_row_per_subject(n, alpha, seed):
    scores = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if alpha < 1 / (n + 1):
        return
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    assert conformal_quantile(scores, torch.arange(n), alpha) == float(scores.sort().values[rank - 1])


def test_alpha_that_the_subjects_cannot_support_is_refused():
    scores, subjects = torch.rand(400), torch.arange(400) // 50
    with pytest.raises(ValueError, match="8 calibration subjects"):
        conformal_quantile(scores, subjects, 0.1)
    assert conformal_quantile(scores, torch.arange(400), 0.1) < 1


def test_a_subject_counts_once_however_many_rows_it_has():
    scores = torch.cat([torch.arange(99.0), torch.full((10_000,), 1000.0)])
    subjects = torch.cat([torch.arange(99), torch.full((10_000,), 99)])
    assert conformal_quantile(scores, subjects, 0.1) == 90.0


def test_rows_of_one_subject_do_not_reduce_a_standard_error():
    values, subjects = torch.randn(500, generator=torch.Generator().manual_seed(0)), torch.arange(500)
    once = clustered_mean(values, subjects)
    tenfold = clustered_mean(values.repeat(10), subjects.repeat(10))
    assert tenfold.standard_error == pytest.approx(once.standard_error)
    assert once.standard_error == pytest.approx(float(values.std()) / math.sqrt(500), rel=1e-3)
    assert once.lower(0.95) < once.mean < once.upper(0.95)


def test_few_subjects_prove_nothing():
    few = clustered_mean(torch.ones(100), torch.arange(100) % 10)
    assert few.upper(0.95) == math.inf
    assert few.lower(0.95) == -math.inf
    assert clustered_mean(torch.zeros(0), torch.zeros(0).long()).upper(0.95) == math.inf


def test_bands_of_true_age_keep_coverage_in_each_band():
    """A single level covers 61+ far too rarely; a level per band of true age covers every band."""
    g = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 91, (12_000,), generator=g).float()
    # Estimates shrunk to the middle, like those of a model trained on few old people.
    age = 40 + 0.8 * (truth - 40) + 3 * torch.randn(12_000, generator=g)
    ones, subjects = torch.ones(6000), torch.arange(6000)
    scores = (age - truth).abs()[:6000]
    bands, counts = band_quantiles(scores, truth[:6000], subjects, 0.1, EDGES, 50)
    assert sum(counts) == 6000

    def coverage(quantiles):
        low, high = widen(age[6000:], age[6000:], ones, quantiles, EDGES, (0.0, 100.0))
        inside = ((truth[6000:] >= low) & (truth[6000:] <= high)).float()
        return [float(inside[bands_of(truth[6000:], EDGES) == band].mean()) for band in range(5)]

    assert all(0.87 < c < 0.96 for c in coverage(bands))
    assert coverage((conformal_quantile(scores, subjects, 0.1),) * 5)[4] < 0.8


def test_small_bands_take_the_level_of_all_rows():
    scores, truth = torch.rand(300), torch.cat([torch.full((280,), 30.0), torch.full((20,), 70.0)])
    quantiles, counts = band_quantiles(scores, truth, torch.arange(300), 0.1, EDGES, 50)
    assert counts == (0, 0, 280, 0, 20)
    assert quantiles[4] == quantiles[0] == conformal_quantile(scores, torch.arange(300), 0.1)


@given(st.floats(0, 100), st.floats(0, 30), st.floats(0.1, 20), st.lists(st.floats(-3, 5), min_size=5, max_size=5))
def test_the_interval_holds_every_age_that_its_band_admits(middle, half, scale, quantiles):
    low, high = torch.tensor([middle - half]), torch.tensor([middle + half])
    start, end = widen(low, high, torch.tensor([scale]), tuple(quantiles), EDGES, (0.0, 100.0))
    assert 0 <= float(start) <= float(end) <= 100
    ages = torch.linspace(0, 100, 401)
    score = (low - ages).maximum(ages - high) / scale
    admitted = ages[score <= torch.tensor(quantiles)[bands_of(ages, EDGES)] - 1e-3]
    if len(admitted):
        assert float(start) <= float(admitted.min()) + 1e-3
        assert float(end) >= float(admitted.max()) - 1e-3
