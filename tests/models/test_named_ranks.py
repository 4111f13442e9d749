"""Classes that are not ages: names in settings, cards and prompts."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F
from toy_systems import CHANNELS, CLIP

from cilf.age_space import AgeSpace
from cilf.card import Ages, Fourier, Images, Model, Prompts
from cilf.models.cilf import CILF
from cilf.models.clip import TextTower, build_clip, tokenizer
from cilf.models.l2rclip import L2rClipHead, rank_names
from cilf.models.prompts import PromptBank
from cilf.models.settings import L2rClip, OrdinalClip, PlainClip
from cilf.models.system import Labels

NAMES = ("the 1930s", "the 1940s", "the 1950s")
DECADES = AgeSpace(0, 2, NAMES)
AGES = {"youngest": 0, "oldest": 2, "names": NAMES}
TEMPLATES = {"templates": ("a photo taken in {age}",)}


@pytest.fixture(scope="module")
def text() -> TextTower:
    torch.manual_seed(0)
    return TextTower(build_clip(CLIP, 32)).eval()


def sentences(text: TextTower, said: list[str]) -> torch.Tensor:
    return F.normalize(text(tokenizer(CLIP)(said)), dim=1)


def test_prompts_contain_names(text):
    bank = PromptBank(Prompts.model_validate(TEMPLATES), CLIP, DECADES, text)
    with torch.no_grad():
        expected = sentences(text, [f"a photo taken in {name}" for name in NAMES])
        torch.testing.assert_close(bank(text), expected, atol=1e-5, rtol=1e-4)


def test_learned_context_stands_before_names(text):
    bank = PromptBank(Prompts.model_validate({**TEMPLATES, "templates": ("{age}",), "context": 4}), CLIP, DECADES, text)
    words = tokenizer(CLIP)(["a photo taken in"])[0, 1:5]
    with torch.no_grad():
        assert bank.context_MD is not None
        bank.context_MD.copy_(text.token_embedding(words))
        expected = sentences(text, [f"a photo taken in {name}" for name in NAMES])
        torch.testing.assert_close(bank(text), expected, atol=1e-5, rtol=1e-4)


def test_l2rclip_starts_at_names_and_its_own_words_win(text):
    head = L2rClipHead(CHANNELS, DECADES, L2rClip(heads=2, context="a photo taken in"), CLIP, text).eval()
    with torch.no_grad():
        expected = sentences(text, [f"a photo taken in {name} ." for name in NAMES])
        torch.testing.assert_close(head.prompt_vectors(), expected, atol=1e-5, rtol=1e-4)
    assert rank_names(DECADES, ("one", "two", "three")) == ["one", "two", "three"]
    assert rank_names(AgeSpace(300, 302, NAMES), None) == list(NAMES)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"ages": {**AGES, "oldest": 3}}, "3 names for the 4 classes from youngest: 0 to oldest: 3"),
        ({"ages": {**AGES, "names": ("a", "b", "a")}}, "a name of its own, got 'a', 'b', 'a'"),
        ({"ages": {**AGES, "names": ("a", "b", " ")}}, "a name of its own"),
        ({"ages": {"youngest": 5, "oldest": 5}}, "youngest < oldest"),
        ({"ages": AGES}, "templates are about ages"),
        ({"ages": AGES, "system": {"system": "clip"}}, "templates are about ages"),
        ({"ages": AGES, "prompts": {**TEMPLATES, "numbers": "words"}}, "leave `numbers` out"),
        ({"ages": AGES, "system": {"system": "l2rclip"}}, "context is about ages"),
        ({"ages": AGES, "system": {"system": "ordinalclip"}}, "context is about ages"),
        ({"prompts": {"templates": ("a photo of the {rank}",)}}, "no other braces"),
        ({"prompts": {"templates": ("a photo",)}}, "must contain {age}"),
    ],
)
def test_settings_that_do_not_fit_the_names_are_refused(spec, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Model.model_validate(spec)


@pytest.mark.parametrize("system", [{"system": "dex"}, {"system": "l2rclip", "context": "a photo taken in"}, None])
def test_names_are_on_the_card_and_only_where_there_are_any(system):
    prompts = TEMPLATES if system is None else {}
    named = Model.model_validate({"ages": AGES, "system": system, "prompts": prompts})
    assert Model.model_validate(named.model_dump(mode="json")) == named
    assert named.model_dump(mode="json")["ages"]["names"] == list(NAMES)
    assert Model().model_dump(mode="json")["ages"] == {"youngest": 0, "oldest": 100}
    assert isinstance(Model.model_validate({"system": {"system": "clip"}}).system, PlainClip)
    assert OrdinalClip().context == L2rClip().context


def test_labels_of_ranks_are_narrower_than_those_of_years():
    """A posterior certain of the right rank is close to the label; a width of two years would spread it over all
    three."""
    spec = {"clip": CLIP, "images": Images(size=32), "fourier": Fourier(depth=0)}
    years = CILF(Model(ages=Ages(youngest=0, oldest=2), **spec))
    ranks = CILF(Model(ages=Ages(**AGES), prompts=Prompts.model_validate(TEMPLATES), **spec))
    ranks.load_state_dict(years.state_dict())
    sure = torch.tensor([[0.0, 12.0, 0.0]])
    pixels = torch.randn(1, 3, 32, 32)
    losses = []
    for model in (years, ranks):
        with torch.no_grad():
            out = model.eval()(pixels, torch.eye(3, 32))
            out.logits_BK = sure
            losses.append(float(model.loss(out, Labels.exact(torch.tensor([1.0])))[1]["age"]))
    assert losses[1] < 0.5 * losses[0]
