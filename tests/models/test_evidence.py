from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.ages import AgeSpace
from cilf.models.evidence import EvidenceScaler, Predictions, Seen, evidence

SPACE = AgeSpace(16, 77)


def _predictions(n: int, views: int, seed: int = 0) -> Predictions:
    g = torch.Generator().manual_seed(seed)
    probs = (3 * torch.randn(n, views, len(SPACE), generator=g)).softmax(dim=2)
    return Predictions(probs, 20 + 40 * torch.rand(n, views, 2, generator=g), torch.randn(n, 5, generator=g))


@given(st.integers(1, 7), st.integers(0, 99))
def test_views_taken_in_two_portions_say_what_they_say_at_once(split, seed):
    p = _predictions(6, 8, seed)
    early = Predictions(p.probs_BVK[:, :split], p.others_BVD[:, :split], p.frozen_BC)
    late = Predictions(p.probs_BVK[:, split:], p.others_BVD[:, split:])
    portions = Seen.of(early, SPACE, "median").plus(Seen.of(late, SPACE, "median"))
    at_once = Seen.of(p, SPACE, "median")
    assert portions.views == 8
    assert torch.allclose(evidence(portions, SPACE, "median"), evidence(at_once, SPACE, "median"), atol=1e-2)
    assert torch.equal(portions.frozen_BC, p.frozen_BC)


def test_evidence_is_finite_for_certain_and_for_clueless_posteriors():
    certain = torch.eye(len(SPACE))[[0, 20, len(SPACE) - 1]]
    clueless = torch.full((1, len(SPACE)), 1 / len(SPACE))
    seen = Seen.of(Predictions(torch.cat([certain, clueless])[:, None]), SPACE, "median")
    z = evidence(seen, SPACE, "median")
    assert z.shape == (4, 10)
    assert z.isfinite().all()
    assert z[:3, 0].tolist() == pytest.approx([16, 36, 77], abs=0.51)


def test_another_kind_of_evidence_is_refused():
    p = _predictions(100, 1)
    seen = Seen.of(p, SPACE, "median")
    scaler = EvidenceScaler.fit(evidence(seen, SPACE, "median"), seen.frozen_BC)
    bare = Seen.of(Predictions(p.probs_BVK), SPACE, "median")
    with pytest.raises(ValueError, match="14 evidence columns and a frozen embedding"):
        scaler(evidence(bare, SPACE, "median"), None)
    with pytest.raises(ValueError, match="other decodes"):
        seen.plus(bare)
    with pytest.raises(ValueError, match="62 classes"):
        Seen.of(p, AgeSpace(), "median")


def test_a_strange_embedding_lies_far_away():
    g = torch.Generator().manual_seed(0)
    known = torch.randn(2000, 6, generator=g) * torch.tensor([10.0, 5, 1, 1, 0.1, 0.1])
    scaler = EvidenceScaler.fit(torch.randn(2000, 3, generator=g), known)
    _, usual = scaler(torch.zeros(2000, 3), known)
    assert float(usual.square().mean()) == pytest.approx(6, rel=0.01)
    # Two units along an axis of width 0.1 are strange; along one of width 10 they are not.
    _, far = scaler(torch.zeros(2, 3), torch.tensor([[0, 0, 0, 0, 2.0, 0], [2.0, 0, 0, 0, 0, 0]]))
    assert float(far[0]) > float(usual.max())
    assert float(far[1]) < 1
