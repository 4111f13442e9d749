"""Training: recipes are checked, augmentation stays in range, and a run leaves a model folder that labels."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cilf.cli import main
from cilf.errors import UsageError
from cilf.training.augment import augment
from cilf.training.loop import split_rows, warm_cosine
from cilf.training.recipe import read_recipe

CONFIGS = Path(__file__).parents[2] / "configs" / "train"

RECIPE = """
name: tiny
summary: for tests
licence: none
data: {{path: {data}}}
model:
  clip:
    architecture:
      embed_dim: 32
      vision_cfg: {{layers: 1, width: 32, head_width: 16, patch_size: 8}}
      text_cfg: {{context_length: 24, vocab_size: 49408, width: 16, heads: 2, layers: 1}}
  images: {{size: 32}}
  fourier: {{depth: 1}}
train_text: true
epochs: 4
batch_size: 32
image_rate: 1.0
held_out: 0.4
"""


@pytest.fixture(scope="module")
def grey_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain squares that are lighter the older they are: an age anyone can learn to read."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(500):
        age = int(draw.integers(1, 90))
        pixels = np.clip(draw.normal(40 + 2 * age, 6, (24, 24, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        split = "val" if number % 10 == 0 else "train"
        rows.append({"id": f"face-{number}", "age": age, "image": buffer.getvalue(), "split": split})
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_train_evaluate_and_the_card_agree(grey_faces, tmp_path, capsys):
    recipe, output = tmp_path / "tiny.yaml", tmp_path / "model"
    recipe.write_text(RECIPE.format(data=grey_faces))
    assert main(["train", str(recipe), str(output)]) == 0
    epochs = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    card = json.loads((output / "model.json").read_text())
    assert card["correction"]["band_quantiles"]
    [figures] = card["figures"].values()
    assert figures["rows"] == 50
    capsys.readouterr()
    assert main(["evaluate", str(output), str(grey_faces)]) == 0
    assert json.loads(capsys.readouterr().out)["mae"] == pytest.approx(figures["mae"], abs=1e-4)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path):
    assert read_recipe(path).name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("epochs: 4", "epochs: 0"), "epochs"),
        (("epochs: 4", "epoch: 4"), "epoch"),
        (("size: 32", "size: large"), r"model\.images\.size"),
        (("train_text: true", ""), "train_text"),
        (("name: tiny", "name: [tiny"), "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_field_named(change, complaint, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(RECIPE.format(data="nowhere").replace(*change))
    with pytest.raises(UsageError, match=complaint):
        read_recipe(path)


def test_missing_recipe_and_data_are_one_line_and_exit_2(tmp_path, capsys):
    assert main(["train", str(tmp_path / "none.yaml"), str(tmp_path / "out")]) == 2
    assert "none.yaml" in capsys.readouterr().err
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(data=tmp_path / "nowhere"))
    assert main(["train", str(path), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "Traceback" not in error


def test_augmented_views_differ_stay_in_range_and_repeat_with_their_seed():
    images = torch.rand(1, 3, 40, 40).expand(16, -1, -1, -1).contiguous()
    views = augment(images, 32, torch.Generator().manual_seed(0))
    assert views.shape == (16, 3, 32, 32)
    assert views.min() >= 0
    assert views.max() <= 1
    assert len({round(float(view.mean()), 5) for view in views}) == 16
    assert torch.equal(views, augment(images, 32, torch.Generator().manual_seed(0)))


def test_held_out_rows_are_kept_apart():
    fitted, held = split_rows(1000, 0.12, seed=3)
    assert len(held) == 120
    assert sorted([*fitted, *held]) == list(range(1000))
    assert np.array_equal(held, split_rows(1000, 0.12, seed=3)[1])


def test_schedule_warms_up_peaks_and_ends_at_zero():
    rates = [warm_cosine(step, 10, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
