"""The whole network: shapes, losses, text cache, and a folder that gives back the same numbers."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from cilf.card import Card, Clip, Fourier, Images, Model, ModelFolderError, Prompts
from cilf.models.checkpoint import load_model, save_model
from cilf.models.cilf import CILF, PARTS
from cilf.models.clip import WeightsError, tokenizer
from cilf.models.system import Labels


def card(spec: Model) -> Card:
    return Card(name="tiny", summary="for tests", licence="none", model=spec)


def test_forward_gives_a_posterior_over_all_ages(tiny_model):
    out = tiny_model(torch.randn(3, 3, 32, 32))
    assert out.logits_BK.shape == out.score_logits_BK.shape == (3, 101)
    assert out.joint_BC.shape == (3, 32)
    torch.testing.assert_close(out.joint_BC.norm(dim=1), torch.ones(3))
    for posterior in tiny_model.posteriors(out):
        torch.testing.assert_close(posterior.sum(dim=1), torch.ones(3))


CAPTIONS = ("a photo of a 33 year old man", "a photo of a 40 to 49 year old woman")


def labels(ages: list[float], **changes) -> Labels:
    return replace(Labels.exact(torch.tensor(ages)), **changes)


def test_loss_falls_and_reaches_every_trained_part(tiny_spec):
    torch.manual_seed(0)
    model = CILF(tiny_spec.model_copy(update={"prompts": Prompts(conditioned=True)})).train()
    model.read_captions(CAPTIONS)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    pixels = torch.randn(8, 3, 32, 32)
    ages = [1.0, 1, 20, 20, 33, 33, 45, 45]
    low, high = torch.tensor([*ages[:6], 40, 40]), torch.tensor([*ages[:6], 49, 49])
    known = labels(ages, low_B=low, high_B=high, captions_B=torch.tensor([-1] * 4 + [0, 0, 1, 1]), views=2)
    losses = []
    for step in range(30):
        loss, parts = model.loss(model.training_pass(pixels, known), known)
        optimiser.zero_grad()
        loss.backward()
        if step == 1:  # until then, what is pooled does not depend on where the network looks
            idle = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
            # CLIP's own temperature and the pooled class token's projection are not part of the estimate.
            assert not [name for name in idle if not name.startswith("image.visual")]
            assert set(parts) == {"age", "score", "match", "same"}
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_group_is_learned_by_the_mass_inside_it(tiny_model):
    torch.manual_seed(0)
    out = tiny_model(torch.randn(2, 3, 32, 32))
    known = labels([45.0, 45], low_B=torch.tensor([40.0, 40]), high_B=torch.tensor([49.0, 49]))
    _, parts = tiny_model.loss(out, known)
    inside_B = out.posterior_BK[:, 40:50].sum(dim=1)
    mean_B = out.posterior_BK @ torch.arange(101.0)
    expected = (-inside_B.log() + 0.3 * (mean_B - mean_B.clamp(40, 49)).abs()).mean()
    torch.testing.assert_close(parts["age"], expected, atol=1e-4, rtol=1e-4)


def test_a_teacher_is_followed_beside_the_labels(tiny_model):
    torch.manual_seed(0)
    out = tiny_model(torch.randn(2, 3, 32, 32))
    taught = torch.rand(2, 101).softmax(dim=1)
    weights = torch.tensor([2.0, 0.5])
    _, parts = tiny_model.loss(out, labels([30.0, 40], taught_BK=taught, weights_B=weights))
    apart_B = (taught * (taught.log() - out.logits_BK.log_softmax(dim=1))).sum(dim=1)
    torch.testing.assert_close(parts["taught"], (weights * apart_B).mean(), atol=1e-5, rtol=1e-4)
    assert "taught" not in tiny_model.loss(out, labels([30.0, 40]))[1]


def test_views_of_a_face_are_held_to_one_posterior(tiny_model):
    torch.manual_seed(0)
    one, other = torch.randn(2, 1, 3, 32, 32)
    same = tiny_model.loss(tiny_model(torch.cat([one, one])), labels([30.0, 30], views=2))[1]["same"]
    apart = tiny_model.loss(tiny_model(torch.cat([one, other])), labels([30.0, 30], views=2))[1]["same"]
    assert abs(same) < 1e-6 < 1e-5 < apart
    assert "same" not in tiny_model.loss(tiny_model(torch.cat([one, other])), labels([30.0, 30]))[1]


def test_captions_teach_the_text_tower(tiny_spec):
    torch.manual_seed(0)
    model = CILF(tiny_spec)
    known, pixels = labels([33.0, 45], captions_B=torch.tensor([0, 1])), torch.randn(2, 3, 32, 32)
    assert torch.equal(model.training_pass(pixels, known).caption_BC, model.text_vectors()[[33, 45]])
    model.read_captions(CAPTIONS)
    read = model.training_pass(pixels, known).caption_BC
    assert not torch.allclose(read, model.text_vectors()[[33, 45]])
    torch.testing.assert_close(read.norm(dim=1), torch.ones(2))


def test_text_that_is_read_keeps_its_vectors_when_all_other_tokens_are_dropped(tiny_spec):
    torch.manual_seed(0)
    model = CILF(tiny_spec)
    prompts_KC = model.text_vectors()
    said_MC = model.text(tokenizer(tiny_spec.clip)(list(CAPTIONS)))
    before = model.text.token_embedding.num_embeddings
    model.read_captions(CAPTIONS)
    torch.testing.assert_close(model.text_vectors(), prompts_KC)
    torch.testing.assert_close(model.text(model.captions_ML), said_MC)
    assert model.text.token_embedding.num_embeddings < 150 < before
    assert model.text.token_embedding.weight.requires_grad
    with pytest.raises(ValueError, match="dropped"):
        model.read_captions(("a photo of something else",))


def test_row_weights_weigh_rows(tiny_model):
    torch.manual_seed(0)
    pixels, ages = torch.randn(4, 3, 32, 32), [3.0, 20, 45, 80]
    out, rest = tiny_model(pixels), tiny_model(pixels[1:])
    plain, parts = tiny_model.loss(out, labels(ages))
    assert tiny_model.loss(out, labels(ages, weights_B=torch.ones(4)))[0] == plain
    _, without_first = tiny_model.loss(out, labels(ages, weights_B=torch.tensor([0.0, 1, 1, 1])))
    _, of_rest = tiny_model.loss(rest, labels(ages[1:]))
    for name in ("age", "score"):
        torch.testing.assert_close(4 * without_first[name], 3 * of_rest[name], atol=1e-4, rtol=1e-5)
        assert (without_first[name] - parts[name]).abs() > 1e-3


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_taken_away(tiny_spec, part):
    torch.manual_seed(0)
    model = CILF(tiny_spec.model_copy(update={"prompts": Prompts(conditioned=True)})).eval()
    model.cache_text()
    for parameter in model.parameters():  # what starts at zero has something to say once it has learned
        parameter.data += 0.05 * torch.randn_like(parameter)
    pixels = torch.randn(2, 3, 32, 32)
    whole = model(pixels).logits_BK
    with model.without(part):
        assert (model(pixels).logits_BK - whole).abs().max() > 1e-3
    assert torch.equal(model(pixels).logits_BK, whole)


def test_an_unknown_part_is_refused(tiny_model):
    with pytest.raises(ValueError, match="not 'wheels'"), tiny_model.without("wheels"):
        pass


def test_cached_text_equals_live_text(tiny_model):
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(tiny_model(pixels).logits_BK, tiny_model(pixels, tiny_model.text_vectors()).logits_BK)


@pytest.mark.parametrize(
    "spec",
    [
        Prompts(),
        Prompts(conditioned=True),
        Prompts(context=4),
        Prompts(numbers="words", templates=("a person of {age} years",)),
    ],
)
def test_saved_and_loaded_model_is_the_same_model(tiny_spec, spec, tmp_path):
    torch.manual_seed(0)
    model = CILF(tiny_spec.model_copy(update={"prompts": spec})).eval()
    model.half().float()  # to what a checkpoint holds
    save_model(model, card(model.spec), tmp_path)
    loaded, corrector, second, read = load_model(tmp_path)
    assert second is None
    assert corrector is None
    assert read == card(model.spec)
    pixels = torch.randn(2, 3, 32, 32)
    expected, found = model(pixels), loaded(pixels)
    torch.testing.assert_close(found.logits_BK, expected.logits_BK, atol=2e-3, rtol=1e-3)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if name.startswith("text.")]


def test_timm_trunk_grid_follows_the_input(tmp_path):
    architecture = {
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    spec = Model(clip=Clip(architecture=architecture), images=Images(size=64), fourier=Fourier(depth=1))
    model = CILF(spec).eval()
    for side in (64, 96, 160):
        assert model(torch.randn(1, 3, side, side)).logits_BK.shape == (1, 101)


def test_the_first_stages_of_a_trunk_leave_the_rest_to_the_fourierformer():
    architecture = {
        "embed_dim": 16,
        "vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }

    def tower(stages: int | None) -> CILF:
        clip = Clip(architecture=architecture, stages=stages)
        return CILF(Model(clip=clip, images=Images(size=64), fourier=Fourier(depth=1)))

    cut, whole = tower(3), tower(None)
    features = cut.image.features(torch.randn(2, 3, 64, 64))
    assert features.map_BCHW.shape[2] > whole.image.features(torch.randn(2, 3, 64, 64)).map_BCHW.shape[2]
    torch.testing.assert_close(features.pooled_BC, features.map_BCHW.mean(dim=(2, 3)))
    assert sum(p.numel() for p in cut.image.parameters()) < sum(p.numel() for p in whole.image.parameters())
    with pytest.raises(WeightsError, match="99 of"):
        tower(99)


@pytest.mark.parametrize(
    "damage", ["no weights", "no card", "not json", "unknown field", "earlier", "not safetensors", "other shape"]
)
def test_damaged_folders_are_refused_with_a_reason(tiny_model, tmp_path, damage):
    save_model(tiny_model, card(tiny_model.spec), tmp_path)
    weights, card_file = tmp_path / "model.safetensors", tmp_path / "model.json"
    if damage == "no weights":
        weights.unlink()
    elif damage == "no card":
        card_file.unlink()
    elif damage == "not json":
        card_file.write_text("{")
    elif damage == "unknown field":
        card_file.write_text(json.dumps({**json.loads(card_file.read_text()), "pickle": "yes"}))
    elif damage == "earlier":
        card_file.write_text(json.dumps({**json.loads(card_file.read_text()), "format": 1}))
    elif damage == "not safetensors":
        weights.write_bytes(b"\x80\x04\x95 a pickle, not weights")
    else:
        save_file({"fuse.0.weight": torch.zeros(1)}, weights)
    with pytest.raises(
        ModelFolderError, match="train it again" if damage == "earlier" else r"model\.(json|safetensors)"
    ):
        load_model(tmp_path)


def test_compiled_model_gives_the_same_numbers(tiny_model):
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = tiny_model(pixels).logits_BK
        found = torch.compile(tiny_model, backend="aot_eager")(pixels).logits_BK
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_weights_of_rows_are_taken_back(tiny_model):
    """Bayes: a posterior learned from rows that count w is, for faces as they come, p / w."""
    weights, pixels = torch.linspace(0.5, 2, 130), torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        before = tiny_model(pixels).posterior_BK
    tiny_model.unweigh(weights)
    with torch.inference_mode():
        after = tiny_model(pixels).posterior_BK
    expected = before / weights[: before.shape[1]]
    torch.testing.assert_close(after, expected / expected.sum(dim=1, keepdim=True))
