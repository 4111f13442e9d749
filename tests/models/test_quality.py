from __future__ import annotations

import torch
from torch.nn import functional as F

from cilf.models.quality import COLUMNS, quality


def _picture(seed: int = 0) -> torch.Tensor:
    """Smooth patches with sharp edges between them, [1, 3, 64, 64]."""
    g = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(1, 3, 9, 9, generator=g), size=64)


def test_quality_shows_each_fault_of_an_image():
    clean = _picture()
    blurred = F.interpolate(F.avg_pool2d(clean, 4), size=64, mode="bilinear")
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    grey = clean.mean(dim=1, keepdim=True).expand_as(clean)
    dark = clean - 1
    seen = quality(torch.cat([clean, blurred, noisy, grey, dark]))
    assert seen.shape == (5, COLUMNS)
    light, _, _, _, _, _, chroma, chroma_detail, fine, sparse = seen[:, :10].T
    assert light[4] < light[0] - 0.9
    assert chroma[3] < 0.01 < chroma[0]
    assert fine[1] < fine[0] < fine[2], "blur takes fine detail away, noise adds it"
    assert sparse[2] > sparse[0], "detail of noise is spread evenly"
    assert chroma_detail[2] > chroma_detail[0]
    torch.testing.assert_close(
        seen[4, 1:], seen[0, 1:] - F.one_hot(torch.arange(15), 15)[1:3].sum(0), atol=1e-4, rtol=0
    )


def test_the_smallest_crops_and_flat_ones_have_finite_numbers():
    assert quality(torch.zeros(2, 6, 16, 16)).isfinite().all()
    assert quality(torch.randn(1, 3, 17, 17)).isfinite().all()
