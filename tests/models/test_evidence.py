from __future__ import annotations

import pytest
import torch

from cilf.age_space import AgeSpace
from cilf.models.evidence import EvidenceScaler, Look, evidence, joint_posterior

SPACE = AgeSpace(16, 77)


def _look(n: int, seed: int = 0) -> Look:
    g = torch.Generator().manual_seed(seed)
    first, second = ((3 * torch.randn(n, len(SPACE), generator=g)).softmax(dim=1) for _ in range(2))
    return Look(first, 20 + 40 * torch.rand(n, 2, generator=g), None, torch.randn(n, 5, generator=g), second)


def _evidence(look: Look) -> torch.Tensor:
    return evidence(look, joint_posterior(look, (0.5, 0.5)), SPACE, "median")


def test_evidence_is_finite_for_certain_and_for_uniform_posteriors():
    certain = torch.eye(len(SPACE))[[0, 20, len(SPACE) - 1]]
    clueless = torch.full((1, len(SPACE)), 1 / len(SPACE))
    posterior = torch.cat([certain, clueless])
    z = _evidence(Look(posterior))
    assert z.shape == (4, 8)
    assert z.isfinite().all()
    assert z[:3, 0].tolist() == pytest.approx([16, 36, 77], abs=0.51)
    # Two networks that exclude each other's age must not give NaN.
    assert _evidence(Look(posterior, second_BK=posterior.roll(1, dims=0))).isfinite().all()


def test_both_posteriors_count_by_their_weights():
    look = _look(50)
    torch.testing.assert_close(joint_posterior(look, (1.0, 0.0)), look.posterior_BK, atol=1e-4, rtol=0)
    torch.testing.assert_close(joint_posterior(look, (0.0, 1.0)), look.second_BK, atol=1e-4, rtol=0)
    assert joint_posterior(look.with_second(None), (0.5, 0.5)) is look.posterior_BK
    twice = Look(look.posterior_BK, second_BK=look.posterior_BK)
    sharper = joint_posterior(twice, (1.0, 1.0))
    assert bool((sharper.amax(dim=1) >= look.posterior_BK.amax(dim=1)).all()), "two that agree are surer than one"


def test_disagreement_is_evidence():
    look = _look(50)
    alone, both = _evidence(look.with_second(None)), _evidence(look)
    assert both.shape[1] == alone.shape[1] + 6
    apart = (SPACE.median(look.posterior_BK) - SPACE.median(look.second_BK)).abs()
    torch.testing.assert_close(both[:, -4], apart)


def test_another_kind_of_evidence_is_refused():
    look = _look(100)
    scaler = EvidenceScaler.fit(_evidence(look))
    bare = Look(look.posterior_BK)
    with pytest.raises(ValueError, match="fitted on 18 evidence columns"):
        scaler(_evidence(bare))
