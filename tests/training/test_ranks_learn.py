"""Ranks that are not ages, from a folder for each to a model: through the commands, and in one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_systems_learn import learned
from tiny_systems import tiny
from tiny_training import RECIPE, face

from cilf.card import read_card
from cilf.cli import main
from cilf.training.recipe import Recipe, changed

NAMES = ("1930s", "1940s", "1950s", "1960s", "1970s")
AGES = {"youngest": 0, "oldest": 4, "names": list(NAMES)}
GUESS = 1.2
"""MAE of always predicting the middle of five equally frequent ranks."""


def square(rank: int, number: int) -> bytes:
    return face(10 + 20 * rank, number)


@pytest.fixture(scope="module")
def draw(tmp_path_factory) -> Path:
    """90 coloured squares for each of five ranks -> a fold, by `cilf data check` and `cilf data split`."""
    folder = tmp_path_factory.mktemp("ranks")
    for rank, name in enumerate(NAMES):
        (folder / "squares" / name).mkdir(parents=True)
        for number in range(90):
            (folder / "squares" / name / f"{number}.png").write_bytes(square(rank, 1000 * rank + number))
    assert main(["data", "check", "ranks", str(folder / "squares"), "--output", str(folder / "ranks.parquet")]) == 0
    assert main(["data", "split", "random-80-20", str(folder / "ranks.parquet"), str(folder / "folds")]) == 0
    return folder / "folds" / "draw-0.parquet"


def recipe(draw: Path, **changes: object) -> dict:
    named = {"ages": AGES, "prompts": {"templates": ["a photo taken in the {age}"]}}
    data = {"path": str(draw), "choose": "test"}
    steps = {"epochs": 4, "batch_size": 16}
    return {**changed(RECIPE, {"model": named}), "data": data, **steps, "held_out": 0.49, **changes}


def test_cilf_ciae_learns_ranks_through_the_commands(ray_session, draw, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(draw)))
    assert main(["train", str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]) == 0
    assert "Accuracy: the rank nearest to the estimate is the true one." in capsys.readouterr().out
    card = read_card(tmp_path / "run")
    assert card.model.ages.names == NAMES
    [figures] = card.figures.values()
    assert figures["rows"] == 90
    assert figures["mae"] < 0.5 * GUESS
    said = pq.read_table(tmp_path / "run" / "estimates.parquet")
    estimate_N, rank_N = said["estimate"].to_numpy(), said["age"].to_numpy()
    assert set(rank_N) == {0, 1, 2, 3, 4}
    assert ((estimate_N >= 0) & (estimate_N <= 4)).all()
    assert figures["rank_accuracy"] == pytest.approx(100 * (np.abs(estimate_N - rank_N) < 0.5).mean())
    assert figures["rank_accuracy"] > 50
    assert figures["interval_width"] < 4
    assert figures["interval_coverage"]["all"] > 0.75
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert record["figures"]["rank_accuracy"] == figures["rank_accuracy"]
    assert "Accuracy" in (tmp_path / "run" / "evaluation.md").read_text()


def test_labels_that_are_none_of_the_ranks_stop_the_run(ray_session, draw, tmp_path, capsys):
    fewer = {"youngest": 0, "oldest": 3, "names": list(NAMES[:4])}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changed(recipe(draw), {"model": {"ages": fewer}})))
    assert main(["train", str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    fifth = sum(row["split"] == "train" and row["age"] == 4 for row in pq.read_table(draw).to_pylist())
    assert f"{fifth} of 360 rows" in error
    assert "outside the 4 ranks 0 to 3 that model.ages names (the first: 4)" in error


@pytest.mark.parametrize("name", ["l2rclip", "ordinalclip"])
def test_systems_of_ranks_learn_them(name):
    named = {"model": {"ages": AGES, "system": {"context": "a photo taken in the"}}, "epochs": 12}
    ranks = Recipe.model_validate(changed(tiny(name).model_dump(mode="json"), named))
    rows = pa.Table.from_pylist([{"id": f"square-{n}", "age": n % 5, "image": square(n % 5, n)} for n in range(192)])
    _, (_, after) = learned(ranks, rows)
    assert after < 0.5 * GUESS
