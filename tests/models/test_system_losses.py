"""Losses of the class, scalar and text systems, compared with their equations in float64, one number at a time."""

import math

import numpy as np
import pytest
import torch
from toy_systems import CHANNELS, CLIP

from cilf.age_space import AgeSpace
from cilf.models import settings
from cilf.models.clip import TextTower, build_clip
from cilf.models.dex import DexHead
from cilf.models.l2rclip import L2rClipHead, RankFormer, batch_pairs, rank_names, rank_pairs
from cilf.models.mean_residue import MeanResidueHead
from cilf.models.ordinalclip import OrdinalClipHead, blend_weights
from cilf.models.prototypes import PrototypeOutput
from cilf.models.regression import RegressionHead
from cilf.models.swinface import SwinFaceHead, allot
from cilf.models.system import Channels, Features, Step

YEARS = AgeSpace(16, 25)
STEP = Step(0, 1)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z) for z in row]
    return [power / sum(powers) for power in powers]


def logits_and_ages() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 2 * torch.randn(6, 10), torch.tensor([16.0, 18, 20.3, 22, 25, 30])


def test_mean_residue_equals_its_equations():
    logits, ages = logits_and_ages()
    logits[0] = 0.0
    logits[1, 2] = logits[1].min() - 1  # no class is less likely than the truth
    entropy, mean, residue = 0.0, 0.0, 0.0
    for row, age in zip(logits.double().tolist(), ages.tolist(), strict=True):
        p, y = softmax(row), min(age, 25)
        true = round(y) - 16
        entropy -= math.log(p[true]) / 6
        mean += 0.5 * (sum((16 + k) * p[k] for k in range(10)) - y) ** 2 / 6
        for k in range(10):
            kept = (p[k] if p[k] < p[true] - 1e-12 else 0.0) + 1e-3
            residue -= kept * math.log(kept) / 6
    _, parts = MeanResidueHead(CHANNELS, YEARS, settings.MeanResidue()).loss(logits, ages, STEP)
    assert parts["cross_entropy"].item() == pytest.approx(entropy, rel=1e-5)
    assert parts["mean"].item() == pytest.approx(0.2 * mean, rel=1e-5)
    assert parts["residue"].item() == pytest.approx(0.05 * residue, rel=1e-5)


def test_dex_additions_equal_their_equations():
    logits, ages = logits_and_ages()
    entropy, mean, variance = 0.0, 0.0, 0.0
    for row, age in zip(logits.double().tolist(), ages.tolist(), strict=True):
        p, y = softmax(row), min(age, 25)
        label = softmax([-((16 + k - y) ** 2) / (2 * 2.0**2) for k in range(10)])
        entropy -= sum(q * math.log(x) for q, x in zip(label, p, strict=True)) / 6
        centre = sum((16 + k) * p[k] for k in range(10))
        mean += 0.5 * (centre - y) ** 2 / 6
        variance += sum(p[k] * (16 + k - centre) ** 2 for k in range(10)) / 6
    head = DexHead(CHANNELS, YEARS, settings.Dex(label_sigma=2.0, mean_variance=True))
    loss, _ = head.loss(logits, ages, STEP)
    assert loss.item() == pytest.approx(entropy + 0.2 * mean + 0.05 * variance, rel=1e-5)


def test_regression_starts_at_the_median_and_errs_in_years():
    head = RegressionHead(CHANNELS, AgeSpace(), settings.Regression())
    head.start_from(torch.tensor([20.0, 30, 31, 90, 150]))
    features = Features(torch.zeros(2, 32), torch.zeros(2, 32, 1, 1))
    torch.testing.assert_close(head(features), torch.tensor([31.0, 31.0]))
    assert head.loss(head(features), torch.tensor([41.0, 28.0]), STEP)[0].item() == pytest.approx(6.5)
    assert head.decode(torch.tensor([-3.0, 140])).age_B.tolist() == [0, 100]


@pytest.mark.parametrize(("number", "late"), [(0, 0.0), (3, 0.3), (10, 1.0), (12, 1.0)])
def test_swinface_loss_goes_from_square_to_epsilon(number, late):
    out, ages = torch.tensor([20.0, 30, 41]), torch.tensor([21.0, 30, 35])
    squares = [1.0, 0.0, 36.0]
    expected = sum((1 - late) / 2 * d + late * (1 - math.exp(-d / 18)) for d in squares) / 3
    head = SwinFaceHead(CHANNELS, AgeSpace(), settings.SwinFace(width=32))
    assert head.loss(out, ages, Step(number, 10))[0].item() == pytest.approx(expected, rel=1e-5)


def test_swinface_allots_channels_as_published():
    assert allot(512, (192, 384, 768, 768)) == [47, 93, 186, 186]
    assert sum(allot(16, (1, 1, 1, 1000))) == 16
    assert min(allot(16, (1, 1, 1, 1000))) == 1
    wide = Channels(768, 768, (192, 384, 768, 768))
    head = SwinFaceHead(wide, AgeSpace(), settings.SwinFace()).eval()
    levels = tuple(torch.randn(2, c, s, s) for c, s in zip(wide.levels, (28, 14, 7, 7), strict=True))
    assert head(Features(torch.zeros(2, 768), levels[-1], levels)).shape == (2,)


def units(rows: int, seed: int) -> torch.Tensor:
    vectors = torch.randn(rows, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def far(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


@pytest.mark.parametrize("classes", [[0, 3, 3, 9], [2, 4, 9], [5, 5], [5]])
def test_l2rclip_pairs_equal_their_equations(classes):
    image, text = units(len(classes), 1), units(10, 2)
    v, t = image.double().numpy(), text.double().numpy()
    near = [far(v[i], t[y]) ** 2 for i, y in enumerate(classes)]

    gaps = [[abs(y - k) for k in range(10)] for y in classes]
    least, most = min(map(min, gaps)), max(map(max, gaps))
    apart = [(gaps[i][k] - least) / most * far(v[i], t[k]) for i in range(len(classes)) for k in range(10)]
    expected = sum(near) / len(near) - sum(apart) / len(apart)
    assert rank_pairs(image, text, torch.tensor(classes)).item() == pytest.approx(expected, abs=1e-5)

    pairs = [(i, j) for i in range(len(classes)) for j in range(i + 1, len(classes))]
    expected = 0.5 * sum(near) / len(near)
    if pairs:
        gap = [abs(classes[i] - classes[j]) for i, j in pairs]
        weights = [(g - min(gap)) / max(gap) if max(gap) else 0.0 for g in gap]
        for w, (i, j) in zip(weights, pairs, strict=True):
            own_i, own_j = t[classes[i]], t[classes[j]]
            expected -= (w * far(v[i], own_j) + 0.5 * w * far(own_i, own_j)) / len(pairs)
    assert batch_pairs(image, text, torch.tensor(classes)).item() == pytest.approx(expected, abs=1e-5)


def test_pairs_of_equal_ages_have_a_gradient():
    text = units(10, 2).requires_grad_()
    image = text[[4, 4, 6]].detach().requires_grad_()  # at distance 0
    for pairs in (batch_pairs, rank_pairs):
        gradients = torch.autograd.grad(pairs(image, text, torch.tensor([4, 4, 6])), (image, text))
        assert all(torch.isfinite(g).all() for g in gradients)


def test_rankformer_starts_at_the_words_and_skips_what_is_absent():
    torch.manual_seed(0)
    former = RankFormer(16, 1, 2).eval()
    words, absent = torch.randn(5, 2, 16), torch.zeros(5, 2, dtype=torch.bool)
    torch.testing.assert_close(former(words, absent), words)
    torch.nn.init.normal_(former.project.weight)
    absent[3, 1] = True
    other = words.clone()
    other[3, 1] = 9.0
    before, after = former(words, absent), former(other, absent)
    assert (before != words).any()
    keep = ~absent
    torch.testing.assert_close(before[keep], after[keep])
    moved = words.clone()
    moved[2, 0] = 9.0
    changed = (former(moved, absent) - before).abs().amax(dim=2) > 1e-4
    assert changed[:, 0].all(), "every rank sees every other"
    assert not changed[:, 1].any(), "at its own place only"


def test_l2rclip_prompts_start_as_the_plain_sentence():
    """Before training, the prompts are CLIP's own vectors of "<context> <age in words> ."."""
    from cilf.models.clip import tokenizer

    torch.manual_seed(0)
    ages, text = AgeSpace(19, 23), TextTower(build_clip(CLIP, 32)).eval()
    head = L2rClipHead(CHANNELS, ages, settings.L2rClip(heads=2, context="the age is"), CLIP, text).eval()
    names = ["nineteen", "twenty", "twenty one", "twenty two", "twenty three"]
    assert rank_names(ages, None) == names
    with torch.no_grad():
        whole = text(tokenizer(CLIP)([f"the age is {name} ." for name in names]))
        expected = torch.nn.functional.normalize(whole, dim=1)
        torch.testing.assert_close(head.prompt_vectors(), expected, atol=1e-5, rtol=1e-4)


def test_ranks_may_have_names():
    text = TextTower(build_clip(CLIP, 32))
    words = ("bad", "not so good", "good")
    head = L2rClipHead(CHANNELS, AgeSpace(0, 2), settings.L2rClip(heads=2, words=words), CLIP, text)
    assert head.prompts.words_K == [1, 3, 1]
    assert head.prompt_vectors().shape == (3, 32)


def test_ordinalclip_loss_equals_its_equations():
    logits, _ = logits_and_ages()
    ages = torch.tensor([16.0, 18, 18, 22, 25, 25])
    out = PrototypeOutput(logits, torch.zeros(6, 1), torch.zeros(10, 1))
    z, y = logits.double().tolist(), [int(age) - 16 for age in ages]
    expected = -sum(math.log(softmax(z[i])[y[i]]) for i in range(6)) / 6
    for rank in sorted(set(y)):
        target = softmax([10.0 if y[i] == rank else 0.0 for i in range(6)])
        given = softmax([z[i][rank] for i in range(6)])
        expected += sum(q * math.log(q / p) for q, p in zip(target, given, strict=True)) / len(set(y))
    head = OrdinalClipHead(CHANNELS, YEARS, settings.OrdinalClip(), CLIP, None)
    assert head.loss(out, ages, STEP)[0].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "inverse", "hat"])
def test_published_blends_are_ordered_or_interpolate(interpolation):
    weights = blend_weights(11, 3, interpolation)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(11))
    # Beyond the next base, "inverse" weights the first one more again.
    assert (weights[:, 0].diff() <= 1e-6).all() == (interpolation != "inverse")
    at_bases = weights[[0, 5, 10]]
    if interpolation == "linear":
        torch.testing.assert_close(at_bases[:2], torch.tensor([[2 / 3, 1 / 3, 0], [0.25, 0.5, 0.25]]))
    else:
        torch.testing.assert_close(at_bases, torch.eye(3), atol=1e-4, rtol=0)
