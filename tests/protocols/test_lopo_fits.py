"""Single fits and their settings: every system learns, and a left-out person's labels never affect its estimates."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from frozen_people import material

from cilf.config import SystemName
from cilf.lopo.choice import best, halves, out_of_fold, tried
from cilf.lopo.correction import fit_correction
from cilf.lopo.fitting import RATES, ask, fit
from cilf.lopo.fold import ROWS, person
from cilf.lopo.heads import CIAE, SYSTEMS

RATE = 3e-3
FEW = material(16, photographs=12)  # too few to fit the correction


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_learns_to_estimate_strangers(system):
    many = material(16, photographs=50)
    known, strangers = np.arange(600), np.arange(600, 800)
    model = fit(system, many.given, *many.rows(known), 1e-2, 0)
    x_NVMX, ages_N = many.rows(strangers)
    said = ask(system, model, x_NVMX)
    spread = (ages_N - ages_N.median()).abs().mean()
    assert (said.ages_N - ages_N).abs().mean() < spread / 3
    if said.posterior_NVK is not None:
        assert torch.allclose(said.posterior_NVK.sum(dim=2), torch.ones(200, 4), atol=1e-4)
    assert (said.others_NVD is None) == (system != CIAE)


def test_out_of_fold_estimates_are_in_the_order_of_the_rows():
    rows = np.flatnonzero(FEW.subjects_N >= "004")
    said, ages_n = out_of_fold(FEW, "regression", rows, 1e-2)
    assert torch.equal(ages_n, torch.tensor(FEW.ages_N[rows]))
    assert np.corrcoef(said.ages_N, ages_n)[0, 1] > 0.8


def test_a_fit_is_a_function_of_its_seed():
    rows = FEW.rows(np.arange(100))
    one, same, other = (ask("dex", fit("dex", FEW.given, *rows, RATE, seed), rows[0]).ages_N for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("system", ["dex", CIAE])
def test_a_left_out_persons_ages_do_not_affect_the_fit(system):
    wrong = FEW.ages_N.copy()
    wrong[FEW.subjects_N == "003"] = 99
    before, after = (person(m, system, "003", RATE) for m in (FEW, replace(FEW, ages_N=wrong)))
    assert before.equals(after)
    assert not before.equals(person(replace(FEW, ages_N=wrong), system, "004", RATE))


def test_rates_are_chosen_by_the_other_half():
    half_of = halves(FEW.people, 0)
    assert sorted(half_of.values()) == [0] * 8 + [1] * 8
    wrong = np.where([half_of[subject] == 0 for subject in FEW.subjects_N], 99, FEW.ages_N).astype(np.float32)
    changed = replace(FEW, ages_N=wrong)
    assert tried(FEW, "regression", 0) == tried(changed, "regression", 0)
    assert tried(FEW, "regression", 1) != tried(changed, "regression", 1)


def test_the_best_rate_has_the_lowest_error():
    maes = [5.0] * len(RATES)
    maes[3] = 4.0
    assert best(maes) == RATES[3]
    assert best([None, *maes[1:3], None]) == RATES[1]


def test_few_photographs_have_no_correction():
    rows = person(FEW, CIAE, "002", RATE)
    assert rows.schema == ROWS
    assert rows["row"].to_pylist() == list(range(24, 36))
    assert rows["estimate"].null_count == 12


def test_correction_is_fitted_on_all_others():
    many = material(30, photographs=10)
    others = np.flatnonzero(many.subjects_N != "007")
    assert fit_correction(many, others, RATE).constants.measured["mae"] < 6
    rows = person(many, CIAE, "007", RATE)
    low, estimate, high = (rows[name].to_numpy() for name in ("age_low", "estimate", "age_high"))
    assert (low <= estimate).all()
    assert (estimate <= high).all()
    assert ((high - low) < 60).all()
    assert np.abs(rows["first_age"].to_numpy() - many.ages_N[many.subjects_N == "007"]).mean() < 8


def test_the_command_line_knows_every_system():
    assert get_args(SystemName) == SYSTEMS
