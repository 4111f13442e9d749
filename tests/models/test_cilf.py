"""The whole network: shapes, losses, text cache, and a folder that gives back the same numbers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cilf.card import Card, Clip, Fourier, Images, Model, ModelFolderError, Prompts
from cilf.models.checkpoint import load_model, save_model
from cilf.models.cilf import CILF


def card(spec: Model) -> Card:
    return Card(name="tiny", summary="for tests", licence="none", model=spec)


def test_forward_gives_a_posterior_over_all_ages(tiny_model):
    out = tiny_model(torch.randn(3, 3, 32, 32))
    assert out.logits_BK.shape == out.score_logits_BK.shape == (3, 101)
    assert out.joint_BC.shape == (3, 32)
    torch.testing.assert_close(out.joint_BC.norm(dim=1), torch.ones(3))


def test_loss_falls_and_reaches_every_trained_part(tiny_spec):
    torch.manual_seed(0)
    model = CILF(tiny_spec).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    pixels, ages = torch.randn(8, 3, 32, 32), torch.tensor([1.0, 5, 20, 33, 47, 60, 72, 99])
    losses = []
    for step in range(30):
        loss, parts = model.loss(model(pixels, model.text_vectors()), ages)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            idle = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
            # CLIP's own temperature and the pooled class token's projection are not part of the estimate.
            assert not [name for name in idle if not name.startswith("image.visual")]
            assert set(parts) == {"kl", "l1", "score", "match"}
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_row_weights_weigh_rows(tiny_model):
    torch.manual_seed(0)
    pixels, ages = torch.randn(4, 3, 32, 32), torch.tensor([3.0, 20, 45, 80])
    out, rest = tiny_model(pixels), tiny_model(pixels[1:])
    plain, parts = tiny_model.loss(out, ages)
    assert tiny_model.loss(out, ages, torch.ones(4))[0] == plain
    _, without_first = tiny_model.loss(out, ages, torch.tensor([0.0, 1, 1, 1]))
    _, of_rest = tiny_model.loss(rest, ages[1:])
    for name in ("kl", "l1", "score"):
        torch.testing.assert_close(4 * without_first[name], 3 * of_rest[name], atol=1e-4, rtol=1e-5)
        assert (without_first[name] - parts[name]).abs() > 1e-3
    # Matching weighs no rows.
    assert without_first["match"] == parts["match"]


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
    loaded, corrector, read = load_model(tmp_path)
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


@pytest.mark.parametrize(
    "damage", ["no weights", "no card", "not json", "unknown field", "not safetensors", "other shape"]
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
    elif damage == "not safetensors":
        weights.write_bytes(b"\x80\x04\x95 a pickle, not weights")
    else:
        save_file({"fuse.0.weight": torch.zeros(1)}, weights)
    with pytest.raises(ModelFolderError, match=r"model\.(json|safetensors)"):
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
