from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.age_space import AgeSpace
from cilf.models.error_ensemble import (
    FOLDS,
    MEMBERS,
    REACH,
    ErrorEnsemble,
    around,
    bounded_loss,
    expected_error,
    fit_ensemble,
    folds_of,
    out_of_fold,
    residual_quantile,
    residuals,
)
from cilf.models.evidence import EvidenceScaler, Look, evidence

SPACE = AgeSpace()


def _residual_distribution(seed: int, sharpness: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(3, 2 * REACH + 1, generator=g, dtype=torch.float64)).softmax(dim=1)


@settings(deadline=None)
@given(st.integers(0, 999), st.floats(0, 30))
def test_the_judged_error_is_convex_and_1_lipschitz_with_its_minimum_at_the_median(seed, sharpness):
    probs = _residual_distribution(seed, sharpness)
    x = torch.linspace(-60, 60, 961, dtype=torch.float64)
    error = expected_error(probs[None], residuals(x), x.expand(3, -1))[0]
    slope = error.diff(dim=1) / x.diff()
    assert bool((slope.abs() <= 1 + 1e-9).all())
    assert bool((slope.diff(dim=1) >= -1e-9).all())
    best = expected_error(probs[None], residuals(x), residual_quantile(probs, 0.5)[:, None])[0]
    assert bool((best <= error.amin(dim=1, keepdim=True) + 1e-9).all())


@given(st.integers(0, 999), st.floats(0, 30), st.floats(0.01, 0.99))
def test_quantiles_invert_the_distribution(seed, sharpness, level):
    probs = _residual_distribution(seed, sharpness)
    at = residual_quantile(probs, level)[:, None]
    below = (probs * (at - residuals(probs) + 0.5).clamp(0, 1)).sum(dim=1)
    assert torch.allclose(below, torch.full_like(below, level), atol=1e-6)


def test_members_equal_separate_networks():
    torch.manual_seed(0)
    ensemble = ErrorEnsemble(7)
    for weight in ensemble.weights:
        torch.nn.init.normal_(weight)
    z, base = torch.randn(5, 7), torch.randn(5, 2 * REACH + 1)
    for member, logits in enumerate(ensemble(z, base)):
        x = z
        for layer in range(3):
            x = torch.nn.functional.gelu(x) if layer else x
            x = x @ ensemble.weights[layer][member] + ensemble.biases[layer][member]
        assert torch.allclose(logits, x + ensemble.scale[member] * base, atol=1e-4)


def test_an_untrained_ensemble_returns_the_posterior():
    posterior = SPACE.soft_labels(torch.tensor([3.0, 41.6, 100.0]), 4.0)
    age = SPACE.median(posterior)
    base = around(posterior, age, SPACE)
    probs = ErrorEnsemble(2)(torch.zeros(3, 2), base).softmax(dim=-1).detach()
    assert probs.shape == (MEMBERS, 3, 2 * REACH + 1)
    told = expected_error(probs, residuals(age), torch.zeros(3, 1))[0, :, 0]
    # One per cent is spread over all residuals.
    assert torch.allclose(told, 0.99 * SPACE.expected_error(posterior, age) + 0.01 * 25, atol=0.15)
    # Nothing lies beyond the end of the range.
    beyond = REACH + 1 + int((100.0 - age[2]).ceil())
    assert float(probs[0, 2, beyond:].sum()) < 0.01


def test_a_group_is_learned_by_the_mass_inside_it():
    classes = torch.arange(10.0)
    logits = torch.randn(1, 10)
    probs = logits.softmax(dim=1)[0]
    loss = bounded_loss(logits, classes, torch.tensor([3.0]), torch.tensor([5.0]))
    assert torch.allclose(loss, -probs[3:6].sum().log())
    open_ended = bounded_loss(logits, classes, torch.tensor([7.0]), torch.tensor([30.0]))
    assert torch.allclose(open_ended, -probs[7:].sum().log())
    sure = 50 * torch.nn.functional.one_hot(torch.tensor([4]), 10).float()
    at, off = (bounded_loss(sure, classes, torch.tensor([y]), torch.tensor([y])) for y in (4.0, 8.0))
    assert at < off


def test_each_row_is_judged_by_members_that_left_it_out():
    folds = folds_of(torch.arange(40) // 2, seed=0)
    assert torch.equal(folds[::2], folds[1::2]), "rows of one subject share their fold"
    assert folds.bincount().tolist() == [10] * FOLDS
    member = torch.arange(MEMBERS)[:, None, None].expand(MEMBERS, 40, 3)
    picked = out_of_fold(member, folds)
    assert picked.shape == (MEMBERS // FOLDS, 40, 3)
    assert torch.equal(picked[:, :, 0] // (MEMBERS // FOLDS), folds.expand(MEMBERS // FOLDS, 40))


def _kernel_regression(x, known_x, known_y):
    """Posteriors of a kernel smoother over the nearest rows; for a row that it knows, mostly from that row itself."""
    weights = (-(torch.cdist(x, known_x) ** 2) / (2 * 0.45**2)).softmax(dim=1)
    probs = weights @ SPACE.soft_labels(known_y, 2.0)
    return Look(probs)


def test_residuals_of_known_rows_make_it_overconfident_and_out_of_fold_ones_do_not():
    """The reason for out-of-fold fitting: a model's error on its own training rows is far too small."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 6, generator=g)
    y = (40 + 12 * x[:, 0] + 8 * x[:, 1] * x[:, 2] + 5 * torch.randn(3000, generator=g)).clamp(0, 100)
    known_x, known_y, fresh_x, fresh_y = x[:1500], y[:1500], x[1500:], y[1500:]
    fold = torch.arange(1500) % 5
    foreign = torch.cat(
        [_kernel_regression(known_x[fold == k], known_x[fold != k], known_y[fold != k]).posterior_BK for k in range(5)]
    )
    order = torch.cat([(fold == k).nonzero().squeeze(1) for k in range(5)])
    fresh = _kernel_regression(fresh_x, known_x, known_y).posterior_BK
    truth = float((SPACE.median(fresh) - fresh_y).abs().mean())

    def claimed(probs_BK, ages_B):
        age_B, fresh_B = SPACE.median(probs_BK), SPACE.median(fresh)
        z = evidence(Look(probs_BK), probs_BK, SPACE, "median")
        scaler = EvidenceScaler.fit(z)
        residual, folds = ages_B - age_B, folds_of(torch.arange(len(z)), 0)
        base = around(probs_BK, age_B, SPACE)
        ensemble = fit_ensemble(scaler(z), base, residual, residual, folds, seed=0)
        fresh_z = scaler(evidence(Look(fresh), fresh, SPACE, "median"))
        probs_LBR = ensemble(fresh_z, around(fresh, fresh_B, SPACE)).softmax(dim=-1)
        zero_BS = torch.zeros(len(fresh_z), 1)
        return float(expected_error(probs_LBR, residuals(zero_BS), zero_BS).mean())

    in_sample = claimed(_kernel_regression(known_x, known_x, known_y).posterior_BK, known_y)
    assert in_sample < 0.6 * truth
    assert abs(claimed(foreign, known_y[order]) - truth) < 0.15 * truth


def test_fitting_follows_its_seed_and_leaves_the_global_generator_alone():
    g = torch.Generator().manual_seed(0)
    z, residual, folds = torch.randn(300, 4, generator=g), torch.randn(300, generator=g), torch.arange(300) % FOLDS
    base = torch.zeros(300, 2 * REACH + 1)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = fit_ensemble(z, base, residual, residual, folds, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again = fit_ensemble(z, base, residual, residual, folds, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="at least 4 subjects"):
        fit_ensemble(z, base, residual, residual, folds.clamp(max=2), seed=1)
