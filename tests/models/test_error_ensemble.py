from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.ages import AgeSpace
from cilf.models.error_ensemble import (
    REACH,
    ErrorEnsemble,
    expected_error,
    fit_ensemble,
    residual_quantile,
    residuals,
)
from cilf.models.evidence import EvidenceScaler, Predictions, Seen, evidence

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


def test_members_are_what_four_separate_networks_would_be():
    torch.manual_seed(0)
    ensemble = ErrorEnsemble(7).eval()
    z = torch.randn(5, 7)
    for member, logits in enumerate(ensemble(z)):
        x = z
        for layer in range(3):
            x = torch.nn.functional.gelu(x) if layer else x
            x = x @ ensemble.weights[layer][member] + ensemble.biases[layer][member]
        assert torch.allclose(logits, x, atol=1e-6)


def _kernel_regression(x, known_x, known_y):
    """Posteriors of a smoother that leans on the nearest rows; on rows it knows, mostly on the row itself."""
    weights = (-(torch.cdist(x, known_x) ** 2) / (2 * 0.45**2)).softmax(dim=1)
    probs = weights @ SPACE.soft_labels(known_y, 2.0)
    return Predictions(probs[:, None])


def test_residuals_of_known_rows_make_it_overconfident_and_out_of_fold_ones_do_not():
    """The reason for out-of-fold fitting: a model's error on its own training rows is far too small."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 6, generator=g)
    y = (40 + 12 * x[:, 0] + 8 * x[:, 1] * x[:, 2] + 5 * torch.randn(3000, generator=g)).clamp(0, 100)
    known_x, known_y, fresh_x, fresh_y = x[:1500], y[:1500], x[1500:], y[1500:]
    fold = torch.arange(1500) % 5
    out_of_fold = torch.cat(
        [_kernel_regression(known_x[fold == k], known_x[fold != k], known_y[fold != k]).probs_BVK for k in range(5)]
    )
    order = torch.cat([(fold == k).nonzero().squeeze(1) for k in range(5)])
    fresh = Seen.of(_kernel_regression(fresh_x, known_x, known_y), SPACE, "median")
    truth = float((SPACE.median(fresh.posterior_BK) - fresh_y).abs().mean())

    def claimed(probs_BVK, ages_B):
        seen = Seen.of(Predictions(probs_BVK), SPACE, "median")
        z = evidence(seen, SPACE, "median")
        scaler = EvidenceScaler.fit(z, None)
        residual = ages_B - SPACE.median(seen.posterior_BK)
        ensemble, _ = fit_ensemble(scaler(z, None)[0][None], residual[None], torch.arange(len(z)), seed=0)
        fresh_z = scaler(evidence(fresh, SPACE, "median"), None)[0]
        probs_LBR = ensemble(fresh_z).softmax(dim=-1)
        zero_BS = torch.zeros(len(fresh_z), 1)
        return float(expected_error(probs_LBR, residuals(zero_BS), zero_BS).mean())

    in_sample = claimed(_kernel_regression(known_x, known_x, known_y).probs_BVK, known_y)
    assert in_sample < 0.6 * truth
    assert abs(claimed(out_of_fold, known_y[order]) - truth) < 0.15 * truth


def test_fitting_follows_its_seed_and_leaves_the_global_generator_alone():
    g = torch.Generator().manual_seed(0)
    z, residual, subjects = torch.randn(2, 300, 4, generator=g), torch.randn(2, 300, generator=g), torch.arange(300)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, held = fit_ensemble(z, residual, subjects // 3, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, _ = fit_ensemble(z, residual, subjects // 3, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    # Rows of one subject stay on one side.
    assert all(len(held[subjects // 3 == s].unique()) == 1 for s in range(100))
