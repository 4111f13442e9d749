"""Properties of the conversions between labels, classes and years."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.age_space import AgeSpace

spaces = st.tuples(st.integers(0, 60), st.integers(1, 100)).map(lambda pair: AgeSpace(pair[0], pair[0] + pair[1]))


@st.composite
def posteriors(draw) -> tuple[AgeSpace, torch.Tensor]:
    space = draw(spaces)
    seed = draw(st.integers(0, 2**31))
    sharpness = draw(st.floats(0, 50))
    logits = torch.randn(3, len(space), generator=torch.Generator().manual_seed(seed)) * sharpness
    return space, logits.softmax(dim=1)


@given(posteriors())
@settings(deadline=None)
def test_decodes_lie_inside_the_range(case):
    space, probs = case
    for decoded in (space.mean(probs), space.median(probs)):
        assert (decoded >= space.youngest - 1e-3).all()
        assert (decoded <= space.oldest + 1e-3).all()


@given(posteriors())
@settings(deadline=None)
def test_median_has_half_the_mass_on_either_side(case):
    space, probs = case
    years = torch.arange(space.youngest, space.oldest + 1.0)
    for row, median in zip(probs, space.median(probs), strict=True):
        assert row[years < median - 0.5001].sum() <= 0.5 + 1e-4
        assert row[years > median + 0.5001].sum() <= 0.5 + 1e-4


@given(posteriors(), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_median_is_monotone_in_mass_moved_to_older_ages(case, share):
    space, probs = case
    older = torch.cat([probs[:, :1] * (1 - share), probs[:, 1:-1], probs[:, -1:] + probs[:, :1] * share], dim=1)
    assert (space.median(older) >= space.median(probs) - 1e-3).all()
    assert (space.mean(older) >= space.mean(probs) - 1e-3).all()


def test_median_of_ties_lies_between_them():
    space = AgeSpace(0, 10)
    probs = torch.zeros(2, 11)
    probs[0, 2] = probs[0, 8] = 0.5
    probs[1, :] = 1 / 11
    assert 2 <= space.median(probs)[0] <= 8
    torch.testing.assert_close(space.median(probs)[1], torch.tensor(5.0))


@given(spaces, st.floats(-50, 250))
@settings(deadline=None)
def test_label_to_class_to_years(space, age):
    label = torch.tensor([age])
    years = space.years(label)
    nearest = years[(years - label).abs().argmin()]
    assert (years[space.classes(label)][0] - label[0]).abs() <= (nearest - label[0]).abs() + 1e-3
    soft = space.soft_labels(label, sigma=2.0)
    torch.testing.assert_close(soft.sum(), torch.tensor(1.0))
    assert soft.argmax() == space.classes(label)[0] or abs(float(label) % 1 - 0.5) < 1e-3


@given(posteriors())
@settings(deadline=None)
def test_median_minimises_expected_error_over_the_classes(case):
    space, probs = case
    best = torch.stack([space.expected_error(probs, torch.full((3,), a)) for a in space.years(probs).tolist()]).amin(0)
    at_median = space.expected_error(probs, space.median(probs))
    assert (at_median <= best + 0.51).all()  # the continuous median is at most half a class away


def test_a_single_class_or_a_reversed_range_is_refused():
    for youngest, oldest in ((5, 5), (10, 3), (-1, 4)):
        with pytest.raises(ValueError, match="youngest"):
            AgeSpace(youngest, oldest)
