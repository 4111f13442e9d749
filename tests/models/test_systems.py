"""Tests of the common interface for every published system."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from toy_systems import CHANNELS, CLIP, NAMES, WITH_TEXT, ToyBackbone, build, toy_rows

from cilf.age_space import AgeSpace
from cilf.errors import UsageError
from cilf.models import settings
from cilf.models.clip import TextTower, build_clip
from cilf.models.l2rclip import L2rClipHead
from cilf.models.ordinalclip import OrdinalClipHead
from cilf.models.swinface import SwinFaceHead
from cilf.models.system import Channels, Step

YEARS, RANKS = AgeSpace(10, 40), AgeSpace(0, 4)
SCALARS = {"regression", "regression, smooth", "swinface", "mivolo"}


def learn(head, backbone, x, ages, steps, began, rate=3e-3):
    """Train for some steps at progress `began`; return the losses, and the names of parameters without gradient."""
    parameters = [p for p in (*head.parameters(), *backbone.parameters()) if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, rate)
    at = Step(began, 100)
    losses, idle = [], {name for name, p in head.named_parameters() if p.requires_grad}
    for _ in range(steps + 1):
        loss, parts = head.loss(head(backbone(x)), ages, at)
        assert all(not part.requires_grad for part in parts.values())
        torch.testing.assert_close(sum(parts.values()), loss.detach())
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        for name, parameter in head.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), name
                if parameter.grad.any():
                    idle.discard(name)
        optimiser.step()
    return losses, idle


@pytest.mark.parametrize("ages", [YEARS, RANKS], ids=["years", "ranks"])
@pytest.mark.parametrize("name", NAMES)
def test_a_system_learns_with_all_its_parts(name, ages):
    head, backbone = build(name, ages).train(), ToyBackbone()
    x, truth = toy_rows(ages)
    head.start_from(truth)
    losses, idle = learn(head, backbone, x, truth, 25, began=0)
    assert losses[-1] < losses[0] - 1e-3
    assert not idle
    if head.rows_after_epoch:
        head.after_epoch([(backbone(x), truth)])
    head.eval()
    age_B, posterior_BK = head.decode(head(backbone(x)))
    assert age_B.shape == (len(x),)
    assert ((age_B >= ages.youngest) & (age_B <= ages.oldest)).all()
    assert (posterior_BK is None) == (name in SCALARS)
    if posterior_BK is not None:
        assert posterior_BK.shape == (len(x), len(ages))
        assert (posterior_BK >= 0).all()
        torch.testing.assert_close(posterior_BK.sum(dim=1), torch.ones(len(x)))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITH_TEXT])
def test_a_system_comes_near_the_truth(name):
    head, backbone = build(name, YEARS).train(), ToyBackbone()
    x, truth = toy_rows(YEARS)
    head.start_from(truth)
    for _ in range(3):
        learn(head, backbone, x, truth, 40, began=0, rate=1e-2)
        head.after_epoch([(backbone(x), truth)])
    age_B, _ = head.eval().decode(head(backbone(x)))
    guess = (truth - truth.median()).abs().mean()
    assert (age_B - truth).abs().mean() < 0.5 * guess


def test_l2rclip_learns_text_first_and_images_second():
    head, backbone = build("l2rclip", YEARS).train(), ToyBackbone()
    x, truth = toy_rows(YEARS)
    for began, learning in ((0, "text"), (60, "images")):
        head.zero_grad()
        backbone.zero_grad()
        losses, idle = learn(head, backbone, x, truth, 25, began)
        assert losses[-1] < losses[0] - 1e-3
        assert bool(idle) == (learning == "images")
        assert (backbone.pooled.weight.grad is None) == (learning == "text")
    assert not [name for name, p in head.named_parameters() if name.startswith("text.") and p.requires_grad]


@pytest.mark.parametrize("name", WITH_TEXT)
def test_trained_prompts_need_no_tower(name):
    head, backbone = build(name, YEARS).eval(), ToyBackbone()
    features = backbone(toy_rows(YEARS)[0])
    before = head(features).logits_BK
    head.freeze_text()
    torch.testing.assert_close(head(features).logits_BK, before)
    temperature = {"inverse_temperature"} if name == "clip" else set()
    assert set(head.state_dict()) == {"text_KC"} | temperature
    plain = build(name, YEARS, deployed=True).eval()
    plain.load_state_dict(head.state_dict())
    torch.testing.assert_close(plain(features).logits_BK, before)


@pytest.mark.parametrize("name", NAMES)
def test_ages_outside_the_range_are_clamped(name):
    head, backbone = build(name, YEARS).eval(), ToyBackbone()
    out = head(backbone(toy_rows(YEARS, 2)[0]))
    beyond, ends = (torch.tensor(pair) for pair in ((3.0, 55.0), (10.0, 40.0)))
    assert head.loss(out, beyond, Step(1, 2))[0] == head.loss(out, ends, Step(1, 2))[0]


def test_wrong_settings_are_refused():
    union = TypeAdapter(settings.SystemSettings)
    assert isinstance(union.validate_python({"system": "coral", "hidden": 8}), settings.Coral)
    for wrong in (
        {"system": "cnn"},
        {"system": "coral", "width": 8},
        {"system": "dex", "label_sigma": 0},
        {"system": "regression_forest", "depth": 8, "units": 100},
        {"system": "mivolo", "widths": (190, 384), "heads": (4, 12)},
        {"system": "mivolo", "layers": (1, 0, 1, 1)},
        {"system": "ordinalclip", "bases": 1},
        {"system": "l2rclip", "first_stage": 1.5},
    ):
        with pytest.raises(ValidationError):
            union.validate_python(wrong)
    with pytest.raises(ValidationError):
        settings.Coral().hidden = 3


def test_parts_that_do_not_fit_together_are_refused():
    with pytest.raises(UsageError, match="levels of a backbone"):
        SwinFaceHead(Channels(32, 32), YEARS, settings.SwinFace())
    text = TextTower(build_clip(CLIP, 32))
    with pytest.raises(UsageError, match="have 48 channels, but the text tower's vectors have 32"):
        OrdinalClipHead(Channels(48, 48), YEARS, settings.OrdinalClip(), CLIP, text)
    with pytest.raises(UsageError, match="exceed the text tower's 24"):
        OrdinalClipHead(CHANNELS, YEARS, settings.OrdinalClip(context=30 * "very "), CLIP, text)
    with pytest.raises(UsageError, match="name 5 ranks, got 2: bad, good"):
        L2rClipHead(CHANNELS, RANKS, settings.L2rClip(heads=2, words=("bad", "good")), CLIP, text)
    with pytest.raises(UsageError, match="set `words`"):
        L2rClipHead(CHANNELS, AgeSpace(190, 210), settings.L2rClip(heads=2), CLIP, text)
    with pytest.raises(UsageError, match="does not divide into 3 heads"):
        L2rClipHead(CHANNELS, RANKS, settings.L2rClip(heads=3), CLIP, text)


def test_features_in_half_precision_give_losses_in_single():
    x, truth = toy_rows(YEARS)
    for name in NAMES:
        head, backbone = build(name, YEARS).train(), ToyBackbone()
        with torch.autocast("cpu", torch.bfloat16):
            out = head(backbone(x))
        loss, _ = head.loss(out, truth, Step(1, 2))
        assert loss.dtype == torch.float32, name
        assert torch.isfinite(loss)
        assert head.decode(out).age_B.dtype == torch.float32
