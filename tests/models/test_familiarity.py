from __future__ import annotations

import pytest
import torch

from cilf.models.evidence import Look
from cilf.models.familiarity import Cloud, Familiarity


def _look(n: int, embedding: torch.Tensor | None = None, quality: torch.Tensor | None = None) -> Look:
    return Look(torch.ones(n, 5) / 5, embedding_BC=embedding, quality_BQ=quality)


def test_usual_rows_are_near_and_unusual_ones_far_away():
    g = torch.Generator().manual_seed(0)
    known = torch.randn(2000, 6, generator=g) * torch.tensor([10.0, 5, 1, 1, 0.1, 0.1])
    cloud = Cloud.fit(known)
    assert float((cloud(known) <= 1).float().mean()) == pytest.approx(0.995, abs=0.001)
    # A distance of two units is unusual along a column of width 0.1, but not along one of width 10.
    far = cloud(torch.tensor([[0, 0, 0, 0, 2.0, 0], [2.0, 0, 0, 0, 0, 0]]))
    assert float(far[0]) > 3
    assert float(far[1]) < 0.3


def test_rows_against_the_known_correlation_are_unusual_too():
    g = torch.Generator().manual_seed(0)
    known = torch.randn(2000, 1, generator=g) + 0.2 * torch.randn(2000, 2, generator=g)
    along, against = Cloud.fit(known)(torch.tensor([[2.0, 2.0], [2.0, -2.0]]))
    assert float(against) > 2.5 * float(along)


def test_the_larger_distance_of_embedding_and_quality_counts():
    g = torch.Generator().manual_seed(0)
    embedding, quality = torch.randn(500, 8, generator=g), torch.randn(500, 3, generator=g)
    familiarity = Familiarity.fit(_look(500, embedding, quality))
    far = torch.full((1, 8), 9.0), torch.full((1, 3), 9.0)
    usual = torch.zeros(1, 8), torch.zeros(1, 3)
    for one in (_look(1, far[0], usual[1]), _look(1, usual[0], far[1])):
        assert float(familiarity(one)) > 2
    assert float(familiarity(_look(1, *usual))) < 0.5
    back = Familiarity.from_state(familiarity.state_dict())
    assert torch.equal(back(_look(1, *far)), familiarity(_look(1, *far)))
    with pytest.raises(ValueError, match="fitted on embedding and quality, but got quality"):
        familiarity(_look(1, None, usual[1]))


def test_without_embedding_and_quality_every_distance_is_zero():
    assert Familiarity.fit(_look(3))(_look(3)).tolist() == [0, 0, 0]
