"""Towers of every family: pooled vectors equal open_clip's, maps lie in the joint space, weights load safely."""

import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Clip, Prompts
from cilf.models.clip import ImageTower, TextTower, WeightsError, build_clip, tokenizer
from cilf.models.matching import score_map
from cilf.models.prompts import PromptBank, in_words

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
FAMILIES = {
    "vit, class token": {"vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8}},
    "vit, averaged": {"vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "pool_type": "avg"}},
    "vit, norm after pool": {
        "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "final_ln_after_pool": True}
    },
    "modified resnet": {"vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16}},
    "efficientnet": {"vision_cfg": {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear"}},
    "convnext": {"vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}},
    "timm vit, attention pool (SigLIP-like)": {
        "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        "custom_text": True,
    },
}
SIDES = {"timm vit, attention pool (SigLIP-like)": 160}


def build(family: str) -> tuple[torch.nn.Module, Clip, int]:
    config = {"embed_dim": 24, "text_cfg": TEXT, **FAMILIES[family]}
    side = SIDES.get(family, 64)
    if config["vision_cfg"].get("timm_proj") == "none":
        config["embed_dim"] = 96  # the trunk's own width
    torch.manual_seed(0)
    spec = Clip(architecture=config)
    return build_clip(spec, side).eval(), spec, side


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_vector_equals_open_clips(family):
    clip, _, side = build(family)
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        map_BCHW, pooled_BC = ImageTower(clip.visual).eval()(pixels)
        expected = clip.encode_image(pixels)
    torch.testing.assert_close(pooled_BC, expected, atol=1e-5, rtol=1e-5)
    assert map_BCHW.shape[:2] == expected.shape
    assert map_BCHW.shape[2] == map_BCHW.shape[3] > 1
    assert map_BCHW.std(dim=(2, 3)).min() > 0, "the map is constant over the image"


REAL = {
    "ViT-B-32": (512, 7),
    "RN50": (1024, 7),
    "ViT-B-16-SigLIP": (768, 14),
    "convnext_base": (512, 7),
    "swin_base_patch4_window7_224": (640, 7),  # a trunk with channels-last maps
    "ViTamin-S": (384, 14),  # a trunk of tokens after convolutions
    "coca_ViT-B-32": (512, 7),
}
"""Name -> width of the joint space, cells per side."""


@pytest.mark.parametrize("name", REAL)
def test_named_models_give_open_clips_pooled_vector(name):
    width, side = REAL[name]
    torch.manual_seed(0)
    clip, pixels = build_clip(Clip(architecture=name), 224).eval(), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        map_BCHW, pooled_BC = ImageTower(clip.visual).eval()(pixels)
        expected = clip.encode_image(pixels, normalize=False)
    torch.testing.assert_close(pooled_BC, expected, atol=1e-5, rtol=1e-5)
    assert map_BCHW.shape == (1, width, side, side)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ViT-L-14", (768, 16, 16)),
        ("ViT-L-14-336", (768, 24, 24)),
        ("RN50x16", (768, 12, 12)),
        ("convnext_xxlarge", (1024, 8, 8)),
        ("EVA02-L-14", (768, 16, 16)),
        ("MobileCLIP-B", (512, 14, 14)),
    ],
)
def test_large_models_have_the_right_shapes(name, shape):
    """Runs on the meta device, without memory or arithmetic."""
    side = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    with torch.device("meta"):
        clip = open_clip.create_model(name, device="meta")
        map_BCHW, pooled_BC = ImageTower(clip.visual).eval()(torch.empty(2, 3, side, side))
    assert map_BCHW.shape == (2, *shape)
    assert pooled_BC.shape == (2, shape[0])


def test_text_tower_of_coca_equals_open_clips():
    spec = Clip(architecture="coca_ViT-B-32")
    clip = build_clip(spec, 224).eval()
    tokens = tokenizer(spec)(["a photo of a 4 year old person", "a 70-year-old face"])
    with torch.no_grad():
        found, expected = TextTower(clip)(tokens), clip.encode_text(tokens, normalize=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["efficientnet", "convnext", "vit, averaged"])
def test_average_pooled_towers_project_cell_by_cell(family):
    """If pooling is a mean followed by a linear map, the map's mean is the pooled vector; a norm in between
    breaks equality but not direction."""
    clip, _, side = build(family)
    with torch.no_grad():
        map_BCHW, pooled_BC = ImageTower(clip.visual).eval()(torch.randn(2, 3, side, side))
    mean_BC = map_BCHW.mean(dim=(2, 3))
    if family == "efficientnet":
        torch.testing.assert_close(mean_BC, pooled_BC, atol=1e-5, rtol=1e-4)
    assert F.cosine_similarity(mean_BC, pooled_BC).min() > 0.5


def test_vit_map_is_normed_and_projected_tokens():
    clip, _, side = build("vit, class token")
    pixels, visual = torch.randn(2, 3, side, side), clip.visual
    with torch.no_grad():
        map_BCHW, _ = ImageTower(visual).eval()(pixels)
        tokens = visual.ln_post(visual.transformer(visual._embeds(pixels)))[:, 1:] @ visual.proj
    torch.testing.assert_close(map_BCHW, tokens.transpose(1, 2).unflatten(2, (8, 8)), atol=1e-5, rtol=1e-5)


def test_score_map_is_cosine_by_hand():
    map_BCHW = torch.tensor([[[[3.0, 0.0]], [[4.0, -2.0]]]])  # two cells: (3, 4) and (0, -2)
    text_KC = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    expected = torch.tensor([[[[0.6, 0.0]], [[0.8, -1.0]]]])
    torch.testing.assert_close(score_map(map_BCHW, text_KC), expected)
    torch.testing.assert_close(score_map(map_BCHW, text_KC[None]), expected)


@pytest.mark.parametrize("family", ["vit, class token", "timm vit, attention pool (SigLIP-like)"])
def test_text_tower_equals_open_clips_even_when_truncated(family):
    clip, spec, _ = build(family)
    tokens = tokenizer(spec)(["a photo of a 4 year old person", "a 70-year-old face"])
    with torch.no_grad():
        torch.testing.assert_close(TextTower(clip)(tokens), clip.encode_text(tokens), atol=1e-5, rtol=1e-5)


def test_context_equal_to_words_gives_the_vector_of_those_words():
    """Learned vectors equal to the embeddings of "a photo of" give the prompt "a photo of ...", so they are at the
    right positions and the end of text is found after them."""
    clip, spec, _ = build("vit, class token")
    text, ages = TextTower(clip), AgeSpace(0, 100)
    words = tokenizer(spec)(["a photo of"])[0, 1:4]
    bank = PromptBank(Prompts(templates=("a face of {age}",), context=3), spec, ages, text)
    whole = PromptBank(Prompts(templates=("a photo of a face of {age}",)), spec, ages, text)
    with torch.no_grad():
        bank.context_MD.copy_(text.token_embedding(words))
        torch.testing.assert_close(bank(text), whole(text), atol=1e-5, rtol=1e-4)


def test_context_needs_a_tower_that_supports_it():
    clip, spec, _ = build("timm vit, attention pool (SigLIP-like)")
    with pytest.raises(ValueError, match="context"):
        PromptBank(Prompts(context=4), spec, AgeSpace(), TextTower(clip))
    clip, spec, _ = build("vit, class token")
    with pytest.raises(ValueError, match="exceed"):
        PromptBank(Prompts(context=20), spec, AgeSpace(), TextTower(clip))


@pytest.mark.parametrize(
    ("age", "words"), [(0, "zero"), (13, "thirteen"), (42, "forty two"), (116, "one hundred sixteen")]
)
def test_ages_in_words(age, words):
    assert in_words(age) == words


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:FutureWarning")  # open_clip's loader
def test_weights_in_openai_layout_give_open_clips_own_vectors(tmp_path):
    """A ViT-B-16 state dict in OpenAI's layout, with half precision and three extra numbers, gives the same model as
    open_clip's own loader; with QuickGELU, as OpenAI trained."""
    torch.manual_seed(0)
    openai = open_clip.create_model("ViT-B-16", force_quick_gelu=True)
    open_clip.model.convert_weights_to_lp(openai)
    extras = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    path = str(tmp_path / "openai.pt")
    torch.save({**openai.state_dict(), **{name: torch.tensor(value) for name, value in extras.items()}}, path)
    reference = open_clip.load_openai_model(path, device="cpu")
    clip = build_clip(Clip(architecture="ViT-B-16", weights=path), 224).eval()
    pixels = torch.randn(1, 3, 224, 224)
    tokens = tokenizer(Clip(architecture="ViT-B-16"))(["a 70-year-old face"])
    with torch.no_grad():
        _, pooled = ImageTower(clip.visual).eval()(pixels)
        torch.testing.assert_close(pooled, reference.encode_image(pixels), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(TextTower(clip)(tokens), reference.encode_text(tokens), atol=1e-5, rtol=1e-5)
        plain = open_clip.create_model("ViT-B-16").eval()
        plain.load_state_dict(reference.state_dict())
        assert (plain.encode_image(pixels) - pooled).abs().max() > 1e-3, "QuickGELU made no difference"


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_from_a_file(suffix, tmp_path):
    clip, spec, side = build("vit, class token")
    path = tmp_path / f"weights{suffix}"
    save_file(clip.state_dict(), path) if suffix == ".safetensors" else torch.save(clip.state_dict(), path)
    torch.manual_seed(99)
    again = build_clip(spec.model_copy(update={"weights": str(path)}), side).eval()
    pixels = torch.randn(1, 3, side, side)
    torch.testing.assert_close(again.encode_image(pixels), clip.encode_image(pixels))


class Poison:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_poisoned_file_is_refused(suffix, tmp_path):
    _, spec, side = build("vit, class token")
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Poison()))
    with pytest.raises(WeightsError, match="Nothing is ever unpickled"):
        build_clip(spec.model_copy(update={"weights": str(path)}), side)


def test_unknown_names_are_refused_with_known_ones_listed(tmp_path):
    with pytest.raises(WeightsError, match="has no architecture 'ViT-Z'"):
        build_clip(Clip(architecture="ViT-Z"), 224)
    with pytest.raises(WeightsError, match="laion2b_s34b_b88k"):
        build_clip(Clip(architecture="ViT-B-16", weights="no-such-tag"), 224)
    _, spec, side = build("vit, class token")
    torch.save({"wrong": torch.zeros(1)}, tmp_path / "wrong.pt")
    with pytest.raises(WeightsError, match="does not fit"):
        build_clip(spec.model_copy(update={"weights": str(tmp_path / "wrong.pt")}), side)


def test_a_tag_that_cannot_be_downloaded_says_how_to_pass_a_file(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", unreachable)
    with pytest.raises(WeightsError, match=r"set clip\.weights to the file"):
        build_clip(Clip(architecture="ViT-B-16", weights="openai"), 224)
