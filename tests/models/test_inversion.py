from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.models.error_ensemble import expected_error, residual_quantile, residuals
from cilf.models.inversion import by_candidates, by_gradient


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 999), st.floats(1, 15))
def test_both_searches_find_the_error_that_the_median_has(seed, width):
    g = torch.Generator().manual_seed(seed)
    centre = 8 * torch.randn(16, 1, generator=g)
    probs = (-(residuals(centre) - centre).abs() / width + torch.randn(16, 101, generator=g)).softmax(dim=1)
    low, high = torch.full((16,), -10.0), torch.full((16,), 10.0)

    def error(x):
        return expected_error(probs[None], residuals(x), x)[0]

    best = error(residual_quantile(probs, 0.5).clamp(-10, 10)[:, None]).squeeze(1)
    descended = by_gradient(error, low, high)
    sampled, explored = by_candidates(error, lambda x: x.abs(), low, high)
    for x in (descended, sampled):
        assert bool(((x >= low) & (x <= high)).all())
        assert bool((error(x[:, None]).squeeze(1) - best < 0.01).all())
    assert bool((explored.abs() == 10).all())


def test_descending_changes_nothing_but_x():
    weights = torch.ones(4, 1, requires_grad=True)
    by_gradient(lambda x: (weights * (x - 3)).abs(), torch.zeros(4), torch.full((4,), 10.0))
    assert weights.grad is None
