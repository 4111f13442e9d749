from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
from synthetic_rows import mae, rows

from cilf.ages import AgeSpace
from cilf.models.conformal import bands_of, clustered_mean
from cilf.models.corrector import REASONS, Corrector
from cilf.models.corrector_fit import BAND_EDGES, CorrectionTable, Plan, fit_corrector
from cilf.models.evidence import Predictions, Seen

SPACE = AgeSpace()


def _with(corrector: Corrector, **changes) -> Corrector:
    tensors, constants = corrector.state()
    return Corrector.from_state(tensors, {**constants, **changes})


def _label(corrector: Corrector, table: CorrectionTable):
    return corrector.label(table.first(1), table.predict)


def _coverage(judged, table):
    return ((table.ages_N >= judged.low_B) & (table.ages_N <= judged.high_B)).float()


@pytest.fixture(scope="module")
def slipping() -> Corrector:
    """Its model errs by 8 years on rows that the frozen embedding shows: correction can help."""
    oof, calibration = rows(1500, 1, slip=8, honest=False), rows(2400, 2, slip=8, honest=False)
    return fit_corrector(SPACE, oof, calibration, Plan(extra_views=0.5))


@pytest.fixture(scope="module")
def honest() -> Corrector:
    """Its model says all there is to say: nothing is left to correct without further views."""
    calibration = rows(4000, 104, views=1)
    return fit_corrector(SPACE, rows(1500, 103, views=1), calibration, Plan(target_mae=3.0, max_views=1))


@pytest.fixture(scope="module")
def fresh() -> CorrectionTable:
    return rows(12_000, 5, slip=8, honest=False)


def test_it_moves_what_it_can_prove_to_mend(slipping, fresh):
    assert slipping.constants.shrinkage > 0
    assert slipping.constants.moving.startswith("on")
    judged = _label(slipping, fresh)
    still = _label(_with(slipping, shrinkage=0.0), fresh)
    assert mae(judged.age_B, fresh) < mae(still.age_B, fresh) - 0.2
    first = SPACE.median(fresh.predictions.probs_BVK[:, 0])
    assert torch.allclose(judged.first_age_B, first, atol=1e-3)


def test_it_switches_moving_off_where_nothing_can_be_gained(honest):
    assert honest.constants.shrinkage == 0
    assert honest.state()[1]["moving"].startswith("off")
    table = rows(2000, 6, views=1)
    judged = _label(honest, table)
    assert torch.equal(judged.age_B, judged.first_age_B)
    # The flag and the interval stay.
    accepted = mae(judged.age_B[judged.accepted_B], table.at(judged.accepted_B))
    assert accepted < 0.75 * mae(judged.age_B[~judged.accepted_B], table.at(~judged.accepted_B))


def test_shuffled_targets_gain_nothing(fresh):
    """Placebo: an ensemble that has learnt nothing true must not be allowed to move an estimate for the better."""
    oof = rows(1500, 1, slip=8, honest=False)
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    placebo = fit_corrector(
        SPACE, replace(oof, ages_N=oof.ages_N[order]), rows(2400, 2, slip=8, honest=False), Plan(extra_views=0.5)
    )
    judged, still = _label(placebo, fresh), _label(_with(placebo, shrinkage=0.0), fresh)
    gain = (still.age_B - fresh.ages_N).abs() - (judged.age_B - fresh.ages_N).abs()
    assert placebo.constants.shrinkage == 0 or clustered_mean(gain, fresh.subject_N).lower(0.95) <= 0


def test_intervals_cover_as_promised(slipping, honest, fresh):
    for corrector, table in ((slipping, fresh), (honest, rows(12_000, 7, views=1))):
        judged = _label(corrector, table)
        covered = _coverage(judged, table)
        assert 0.88 <= float(covered.mean()) <= 0.92
        band = bands_of(table.ages_N, BAND_EDGES)
        assert all(0.85 <= float(covered[band == b].mean()) <= 0.95 for b in range(5))
        assert bool(((judged.low_B <= judged.age_B) & (judged.age_B <= judged.high_B)).all())
        # Sharp where the row is easy: a constant width would cover as well.
        width = judged.high_B - judged.low_B
        easy, hard = judged.expected_error_B.quantile(torch.tensor([0.25, 0.75]))
        assert width[judged.expected_error_B < easy].mean() < 0.6 * width[judged.expected_error_B > hard].mean()


def test_the_expected_error_is_right_on_average_and_by_quarter(honest):
    table = rows(12_000, 7, views=1)
    judged = _label(honest, table)
    error = (judged.age_B - table.ages_N).abs()
    for quarter in judged.expected_error_B.argsort().chunk(4):
        assert float(error[quarter].mean()) == pytest.approx(float(judged.expected_error_B[quarter].mean()), rel=0.15)


def test_only_failing_rows_are_forwarded_again_and_gain_by_it():
    fitted = fit_corrector(SPACE, rows(1500, 8), rows(1600, 9), Plan(max_views=4, extra_views=0.6))
    corrector = _with(fitted, shrinkage=0.0)
    table = rows(6000, 10)
    asked = []

    def predict(ids, first_view, n_views):
        asked.append((ids, first_view, n_views))
        return table.predict(ids, first_view, n_views)

    judged = corrector.label(table.first(1), predict)
    assert [(first, n) for _, first, n in asked] == [(1, 1), (2, 2)]
    failing = corrector.judge(Seen.of(table.first(1), SPACE, "median")).error_B > corrector.constants.epsilon
    assert torch.equal(asked[0][0], failing.nonzero().squeeze(1))
    assert bool(torch.isin(asked[1][0], asked[0][0]).all())
    assert torch.equal(judged.corrections_B > 0, failing)
    spent = sum(len(ids) * n for ids, _, n in asked) / len(table)
    assert 0.5 < spent < 0.75, "the budget was 0.6 on calibration rows"
    before, after = mae(judged.first_age_B[failing], table.at(failing)), mae(judged.age_B[failing], table.at(failing))
    assert after < before - 0.3
    assert torch.equal(judged.age_B[~failing], judged.first_age_B[~failing])
    for reason, accepted in ((0, True), (1, True), (2, False), (3, False)):
        assert bool((judged.accepted_B[judged.reason_B == reason] == accepted).all()), REASONS[reason]
    assert bool((judged.corrections_B[judged.reason_B == 2] == 2).all())


def test_risk_control_keeps_the_target_on_accepted_rows(honest):
    assert honest.constants.epsilon_by == "risk"
    assert honest.constants.measured["accepted_mae_upper"] <= 3.0
    table = rows(6000, 13, views=1)
    judged = _label(honest, table)
    assert mae(judged.age_B[judged.accepted_B], table.at(judged.accepted_B)) <= 3.0 < mae(judged.age_B, table)
    assert float(judged.accepted_B.double().mean()) > 0.5


def _adults(n: int, seed: int) -> CorrectionTable:
    return rows(n, seed, space=AgeSpace(16, 77), views=2)


def _fit_adults() -> Corrector:
    plan = Plan(target_mae=0.1, extra_views=0.2, max_views=1)
    return fit_corrector(AgeSpace(16, 77), _adults(600, 14), _adults(600, 15), plan, seed=3)


@pytest.fixture(scope="module")
def adults() -> Corrector:
    return _fit_adults()


def test_a_target_out_of_reach_falls_back_to_the_budget_and_says_so(adults):
    assert (adults.constants.epsilon_by, adults.constants.target_mae) == ("budget", 0.1)
    # Without further views to pay for, the budget is the share of failing rows.
    assert 0.15 < adults.constants.measured["share_not_converged"] <= 0.2


def test_another_age_range_and_the_same_seed(adults):
    again = _fit_adults()
    assert adults.state()[1] == again.state()[1]
    table = _adults(3000, 16)
    one, two = _label(adults, table), _label(again, table)
    assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in vars(one))
    assert bool(((one.low_B >= 16) & (one.high_B <= 77)).all())
    assert 0.86 < float(_coverage(one, table).mean()) < 0.94


def test_modes_agree_where_no_explicit_term_counts(slipping, fresh):
    weights = [1.0, 0.0]
    table = fresh.at(torch.arange(1000))
    seen = Seen.of(table.first(1), SPACE, "median")
    fixed = {"term_weights": weights, "shrinkage": 1.0, "min_gain": 0.0, "epsilon": 0.0}
    closed, *others = (_with(slipping, mode=mode, **fixed).judge(seen) for mode in ("closed", "gradient", "candidates"))
    assert float((closed.age_B - SPACE.median(seen.posterior_BK)).abs().max()) > 5
    for other in others:
        assert float((other.error_B - closed.error_B).abs().max()) < 0.01


def test_state_goes_through_json_and_safetensors_unchanged(slipping, fresh, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors, constants = slipping.state()
    save_file(tensors, tmp_path / "c.safetensors")
    back = Corrector.from_state(load_file(tmp_path / "c.safetensors"), json.loads(json.dumps(constants)))
    assert back.constants == slipping.constants
    one, two = _label(slipping, fresh), _label(back, fresh)
    assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in vars(one))
    with pytest.raises(ValueError, match="not the tensors of a corrector"):
        Corrector.from_state({k: v for k, v in tensors.items() if "weights.1" not in k}, constants)
    with pytest.raises(ValueError, match="format"):
        Corrector.from_state(tensors, {**constants, "format": 2})


def test_broken_posteriors_are_never_accepted_and_do_not_touch_their_neighbours(slipping, fresh):
    table = fresh.at(torch.arange(50))
    whole = _label(slipping, table)
    probs = table.predictions.probs_BVK.clone()
    probs[7] = float("nan")
    broken = replace(table, predictions=replace(table.predictions, probs_BVK=probs))
    judged = _label(slipping, broken)
    assert not judged.accepted_B[7]
    rest = torch.arange(50) != 7
    assert torch.allclose(judged.age_B[rest], whole.age_B[rest], atol=1e-3)


def test_no_rows_are_no_trouble(slipping, fresh):
    judged = _label(slipping, fresh.at(torch.arange(0)))
    assert all(len(getattr(judged, name)) == 0 for name in vars(judged))


def test_what_cannot_be_fitted_is_refused():
    oof, calibration = _adults(400, 20), _adults(400, 21)
    space = AgeSpace(16, 77)
    with pytest.raises(ValueError, match="2 views, but correction may ask for 4"):
        fit_corrector(space, oof, calibration, Plan(max_views=4))
    with pytest.raises(ValueError, match="power of two"):
        fit_corrector(space, oof, calibration, Plan(max_views=3))
    with pytest.raises(ValueError, match="200 calibration subjects are also"):
        fit_corrector(space, oof, oof, Plan(max_views=2))
    with pytest.raises(ValueError, match="20 subjects"):
        fit_corrector(space, oof, replace(calibration, subject_N=torch.arange(400) // 20), Plan(max_views=2))
    with pytest.raises(ValueError, match=r"error rate of 0\.001"):
        fit_corrector(space, oof, calibration, Plan(max_views=2, alpha=0.001))


def test_judging_costs_little_beside_a_model(honest):
    """4096 rows in well under the second that even a model of 100 images/ms would take."""
    table = rows(4096, 22, views=1)
    first = Predictions(table.predictions.probs_BVK)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        honest.label(first, table.predict)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 2
