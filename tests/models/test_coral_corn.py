"""CORAL and CORN compared with their authors' package, and with their equations one number at a time."""

import math

import pytest
import torch

from cilf.age_space import AgeSpace
from cilf.models.coral import CoralHead, posterior_of
from cilf.models.corn import CornHead
from cilf.models.settings import Coral, Corn
from cilf.models.system import Channels, Features, Step

CHANNELS = Channels(pooled=12, map=12)
SPACES = [AgeSpace(0, 9), AgeSpace(16, 77), AgeSpace(0, 1)]
STEP = Step(0, 1)


def case(ages: AgeSpace, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, years and classes."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, len(ages), (40,), generator=random)
    return 3 * torch.randn(40, len(ages) - 1, generator=random), classes + float(ages.youngest), classes


@pytest.fixture(params=SPACES, ids=str)
def ages(request) -> AgeSpace:
    return request.param


class TestAgainstThePackage:
    @pytest.fixture(autouse=True)
    def _package(self):
        pytest.importorskip("coral_pytorch", reason="coral-pytorch, of the extra `test`, is not installed")

    def test_coral(self, ages):
        from coral_pytorch.dataset import levels_from_labelbatch, proba_to_label
        from coral_pytorch.losses import coral_loss

        logits, years, classes = case(ages)
        head = CoralHead(CHANNELS, ages, Coral())
        expected = coral_loss(logits, levels_from_labelbatch(classes, len(ages)))
        torch.testing.assert_close(head.loss(logits, years, STEP)[0], expected, atol=1e-6, rtol=1e-6)
        labels = proba_to_label(logits.sigmoid()) + ages.youngest
        torch.testing.assert_close(head.decode(logits).age_B, labels.float(), atol=0, rtol=0)

    def test_coral_layer(self, ages):
        from coral_pytorch.layers import CoralLayer

        head, layer = CoralHead(CHANNELS, ages, Coral()), CoralLayer(CHANNELS.pooled, len(ages))
        torch.testing.assert_close(head.bias_K, layer.coral_bias)
        layer.coral_weights.load_state_dict(head.shared.state_dict())
        pooled = torch.randn(5, CHANNELS.pooled)
        torch.testing.assert_close(head(Features(pooled, pooled[:, :, None, None])), layer(pooled))

    def test_corn(self, ages):
        from coral_pytorch.dataset import corn_label_from_logits
        from coral_pytorch.losses import corn_loss

        logits, years, classes = case(ages)
        head = CornHead(CHANNELS, ages, Corn())
        expected = corn_loss(logits, classes, len(ages))
        torch.testing.assert_close(head.loss(logits, years, STEP)[0], expected, atol=1e-6, rtol=1e-6)
        logits = logits + 3  # otherwise hardly any face is older than the first few ages
        labels = corn_label_from_logits(logits) + ages.youngest
        assert len(ages) == 2 or len(labels.unique()) > 3
        torch.testing.assert_close(head.decode(logits).age_B, labels.float(), atol=0, rtol=0)


def test_coral_starts_from_the_training_ages():
    ages = AgeSpace(20, 23)
    head = CoralHead(CHANNELS, ages, Coral())
    head.start_from(torch.tensor([20.0, 21, 21, 22, 23, 23, 23, 23]))
    # 7, 5 and 4 of 8 are older than 20, 21 and 22; one is added to both counts.
    torch.testing.assert_close(head.bias_K.data.sigmoid(), torch.tensor([8, 6, 5]) / 10)


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_losses_equal_their_equations(ages):
    logits, years, classes = case(ages)
    coral, corn, asked = 0.0, 0.0, 0
    for row, y in zip(logits.double().tolist(), classes.tolist(), strict=True):
        for k, z in enumerate(row):
            older = math.log(sigma(z)) if y > k else math.log(1 - sigma(z))
            coral -= older / len(logits)
            if y > k - 1:
                corn, asked = corn - older, asked + 1
    assert CoralHead(CHANNELS, ages, Coral()).loss(logits, years, STEP)[0].item() == pytest.approx(coral, rel=1e-5)
    assert CornHead(CHANNELS, ages, Corn()).loss(logits, years, STEP)[0].item() == pytest.approx(corn / asked, rel=1e-5)


def test_posteriors_are_differences_of_exceedance(ages):
    logits, _, _ = case(ages)
    logits = logits.sort(dim=1, descending=True).values
    coral = CoralHead(CHANNELS, ages, Coral()).decode(logits)
    corn = CornHead(CHANNELS, ages, Corn()).decode(logits)
    for row in range(len(logits)):
        z = logits[row].double().tolist()
        chained = [math.prod(sigma(x) for x in z[: k + 1]) for k in range(len(z))]
        for decoded, older in ((coral, [sigma(x) for x in z]), (corn, chained)):
            edges = [1.0, *older, 0.0]
            expected = torch.tensor([edges[k] - edges[k + 1] for k in range(len(ages))])
            torch.testing.assert_close(decoded.posterior_BK[row], expected, atol=1e-5, rtol=1e-4)
            # The number of ages that a face is older than is the class at which the cumulative mass passes one half.
            passed = expected.cumsum(0).tolist()
            median = next(k for k, mass in enumerate(passed) if mass >= 0.5 - 1e-6)
            assert decoded.age_B[row].item() == ages.youngest + median


def test_contradicting_answers_still_give_a_posterior():
    older = torch.tensor([[0.5, 0.9, 0.1], [0.1, 0.2, 0.3]])
    expected = torch.tensor([[0.5, 0, 0.8, 0.1], [0.9, 0, 0, 0.3]])
    torch.testing.assert_close(posterior_of(older), expected / expected.sum(dim=1, keepdim=True))


def test_corn_posterior_survives_certainty():
    """A hundred certain answers in a row, and none certain: products of these underflow float32."""
    space = AgeSpace()
    for logit, age in ((80.0, 100), (-80.0, 0)):
        decoded = CornHead(CHANNELS, space, Corn()).decode(torch.full((1, 100), logit))
        assert decoded.age_B.item() == age
        torch.testing.assert_close(decoded.posterior_BK[0, age], torch.tensor(1.0))
        assert torch.isfinite(decoded.posterior_BK).all()


def test_apparent_ages_are_rounded_for_the_questions_only():
    space = AgeSpace(0, 9)
    logits, _, _ = case(space)
    head = CornHead(CHANNELS, space, Corn())
    near, whole = torch.full((40,), 4.3), torch.full((40,), 4.0)
    assert head.loss(logits, near, STEP)[0] == head.loss(logits, whole, STEP)[0]
