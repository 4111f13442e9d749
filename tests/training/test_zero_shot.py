"""Plain CLIP, evaluated without training: its posterior compared with open_clip's own towers, and its errors."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from test_suite_tables import measured
from tiny_training import RECIPE

from cilf.card import Prompts
from cilf.cli import main
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.models.checkpoint import load_model
from cilf.models.pixels import Normalise
from cilf.storage import locate
from cilf.suite.plan import read_suite
from cilf.suite.table import write_tables
from cilf.training.recipe import Recipe, changed, read_recipe
from cilf.training.run_folder import curves

ARCHITECTURE = RECIPE["model"]["clip"]["architecture"]


def openclip() -> open_clip.CLIP:
    config: dict[str, Any] = {**ARCHITECTURE, "vision_cfg": {**ARCHITECTURE["vision_cfg"], "image_size": 32}}
    return open_clip.CLIP(**config).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A file of random CLIP weights that float16 represents exactly, because a model folder stores float16."""
    torch.manual_seed(0)
    clip = openclip()
    clip.logit_scale.data.fill_(math.log(60))
    path = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file({name: value.half().float().contiguous() for name, value in clip.state_dict().items()}, path)
    return str(path)


def zero_shot(weights: str | None, **model: Any) -> dict[str, Any]:
    asked = {"system": {"system": "clip"}, "clip": {"weights": weights}, **model}
    return {**changed(RECIPE, {"model": asked}), "epochs": 0, "train_text": False}


@pytest.fixture(scope="module")
def run(ray_session, faces, weights, tmp_path_factory):
    """The folder that `cilf train` writes with no training step."""
    folder = tmp_path_factory.mktemp("zero-shot")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**zero_shot(weights), "data": {"path": str(faces)}}))
    assert main(["train", str(folder / "recipe.yaml"), str(folder / "run")]) == 0
    return folder / "run"


@torch.no_grad()
def test_the_posterior_is_that_of_open_clips_towers(run, weights):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    clip = openclip()
    clip.load_state_dict(load_file(weights))
    clip = clip.double()
    normalised = (images / 255 - open_clip.OPENAI_DATASET_MEAN) / open_clip.OPENAI_DATASET_STD
    image_BC = clip.encode_image(torch.tensor(normalised).permute(0, 3, 1, 2), normalize=True)
    tokenize = open_clip.SimpleTokenizer(context_length=24)
    text = []
    for age in range(101):
        said = clip.encode_text(tokenize([t.format(age=age) for t in Prompts().templates]), normalize=True).mean(dim=0)
        text.append(said / said.norm())
    expected_BK = (clip.logit_scale.exp() * image_BC @ torch.stack(text).T).softmax(dim=1)
    assert expected_BK.std() > 1e-3, "it says something"

    model, _, _, card = load_model(run)
    pixels = Normalise(card.model.images)(torch.from_numpy(images))
    [posterior_BK] = model.posteriors(model(pixels))
    torch.testing.assert_close(posterior_BK.double(), expected_BK, atol=1e-4, rtol=0)
    years_B = expected_BK @ torch.arange(101.0).double()
    np.testing.assert_allclose(Estimator(run)(images).first_age, years_B, atol=0.01)


def test_the_run_folder_is_complete_except_for_training_metrics(run, capsys):
    card = json.loads((run / "model.json").read_text())
    assert card["correction"]["band_quantiles"]
    assert card["training"]["speed"] == {}
    [figures] = card["figures"].values()
    assert figures["rows"] == 50
    there = {path.name for path in run.iterdir()}
    assert {"evaluation.md", "estimates.parquet", "recipe.yaml", "bad_rows.csv"} <= there
    assert not there & {"metrics.jsonl", "curves.png", "checkpoints"}
    assert curves([], "years").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": {"clip": {"weights": None}}}, "towers would start from nothing"),
        ({"model": {"system": None}}, "cilf-ciae has parts that start from nothing"),
        ({"model": {"system": {"system": "l2rclip"}}}, "l2rclip has parts that start from nothing"),
        ({"model": {"prompts": {"context": 4}}}, r"goes without model\.prompts\.context"),
        ({"image_init": "imagenet-lite0"}, "goes without image_init"),
        ({"start": "a-model"}, "goes without start"),
    ],
)
def test_untrained_parts_are_refused(change, complaint, tmp_path):
    raw = changed({**zero_shot("clip.safetensors"), "data": {"path": "p"}}, change)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UsageError, match=complaint):
        read_recipe(tmp_path / "recipe.yaml")


def test_missing_weights_stop_the_run_before_it_starts(tmp_path, capsys):
    raw = {**zero_shot(str(tmp_path / "gone.safetensors")), "data": {"path": "p"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    assert main(["train", str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]) == 2
    assert "gone.safetensors' is not a file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_conditioned_prompts_are_refused(weights, tmp_path):
    from cilf.models.systems import build_network

    raw = {**zero_shot(weights, prompts={"conditioned": True}), "data": {"path": "p"}}
    with pytest.raises(UsageError, match="conditioned"):
        build_network(Recipe.model_validate(raw).model)


def test_zero_shot_stands_beside_trained_systems_in_a_suite(weights, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(zero_shot(weights)))
    asked = {
        "digits": {},
        "words": {"model": {"prompts": {"numbers": "words"}}},
        "dex": {"epochs": 1, "model": {"system": {"system": "dex"}}},
    }
    suite = {"recipe": "recipe.yaml", "systems": asked, "data": {"faces": {"path": "faces.parquet"}}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    runs = read_suite(tmp_path / "suite.yaml")
    results = [measured(run, error) for error, run in enumerate(runs, start=1)]
    for some, said in (
        (results[:2], "Without training, with the towers' given weights"),
        (results, "With different budgets"),
    ):
        write_tables(runs, some, locate(str(tmp_path)), "the command")
        assert said in (tmp_path / "faces.md").read_text()
    rows = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text()))
    assert [row["system"] for row in rows] == ["digits", "words", "dex"]
