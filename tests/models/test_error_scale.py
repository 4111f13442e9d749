from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.models.error_scale import isotonic_knots


@settings(deadline=None)
@given(st.integers(2, 900), st.integers(0, 99))
def test_the_map_is_monotone_and_continuous(n, seed):
    g = torch.Generator().manual_seed(seed)
    raw = 8 * torch.rand(n, generator=g)
    knots = isotonic_knots(raw, raw * torch.rand(n, generator=g))
    assert knots.shape == (2, 20)
    assert bool((knots[0].diff() > 0).all())
    assert bool((knots[1].diff() >= 0).all())


def test_the_map_finds_the_scale():
    g = torch.Generator().manual_seed(0)
    raw = 1 + 8 * torch.rand(20_000, generator=g)
    x, y = isotonic_knots(raw, 3 * raw * 2 * torch.rand(20_000, generator=g))
    assert torch.allclose(y[1:19], 3 * x[1:19], rtol=0.1)
