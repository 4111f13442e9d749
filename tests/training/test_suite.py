"""Suites: their runs, complete suites on Ray, and resuming."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_training import labelled

from cilf.cli import main
from cilf.errors import UsageError
from cilf.storage import locate
from cilf.suite import job
from cilf.suite.plan import read_suite

SUITES = Path(__file__).parents[2] / "configs" / "suites"


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_suite_is_whole_recipes(path):
    runs = read_suite(path)
    assert len({run.place for run in runs}) == len(runs) >= 4
    trained = [run.recipe for run in runs if run.recipe.epochs and not run.own_backbone]
    assert all(recipe.image_init == "imagenet-lite0" for recipe in trained)
    budgets = {(run.recipe.epochs, run.recipe.batch_size, run.recipe.model.images.size) for run in runs}
    assert len(budgets) == 1


def test_systems_data_sets_and_seeds_multiply(suite):
    runs = read_suite(suite(data={"a": {"path": "a"}, "b": {"path": "b", "choose": "test"}}, seeds=[3, 1]))
    assert [run.place for run in runs[:4]] == ["a/dex-3", "b/dex-3", "a/regression-3", "b/regression-3"]
    assert [run.seed for run in runs] == 4 * [3] + 4 * [1]
    assert runs[1].recipe.data[0].choose == "test"
    assert runs[1].recipe.seed == 3
    assert runs[1].recipe.model.images == runs[0].recipe.model.images
    assert runs[2].recipe.model.system.system == "regression"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"systems": {}}, "systems"),
        ({"systems": {"a/b": "dex.yaml"}}, "systems"),
        ({"systems": {"dex": "none.yaml"}}, r"none\.yaml cannot be read"),
        ({"systems": {"dex": {"model": {"system": {"system": "cnn"}}}}}, r"systems\.dex: model\.system"),
        ({"recipe": "none.yaml"}, r"none\.yaml cannot be read"),
        ({"data": {"faces": {"path": "p", "fit": "val"}}}, "fit takes the rows to choose by"),
        ({"seeds": []}, "seeds"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_wrong_suite_is_refused_and_the_place_named(suite, changes, complaint):
    with pytest.raises(UsageError, match=complaint):
        read_suite(suite(**changes))


def test_a_suite_takes_no_output_and_no_faces(suite, tmp_path, capsys):
    for option in (["--output", "x"], ["--faces"], ["--epsilon-sweep"], ["--split", "test"]):
        assert main(["evaluate", "--suite", str(suite()), str(tmp_path / "out"), *option]) == 2
        assert option[0] in capsys.readouterr().err


def test_models_that_cannot_be_built_are_reported_before_anything_starts(suite, tmp_path, capsys):
    path = suite(systems={"swinface": {"model": {"system": {"system": "swinface"}}}})
    assert main(["evaluate", "--suite", str(path), str(tmp_path / "out")]) == 2
    assert "levels of a backbone" in capsys.readouterr().err


def test_a_suite_from_end_to_end_and_the_same_command_again(ray_session, suite, tmp_path, capsys, monkeypatch):
    pq.write_table(pa.Table.from_pylist(labelled(500)), tmp_path / "faces.parquet")
    path, output = suite(systems={"dex": "dex.yaml"}), tmp_path / "out"
    assert main(["evaluate", "--suite", str(path), str(output)]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 runs to train" in said
    assert f"faces.csv, faces.json, faces.md, faces.png are in {output}" in said
    rows = {row["system"]: row for row in csv.DictReader(io.StringIO((output / "faces.csv").read_text()))}
    assert set(rows) == {"dex"}
    for system, row in rows.items():
        folder = output / f"faces/{system}-0"
        record = json.loads((folder / "evaluation.json").read_text())
        assert float(row["mae"]) == pytest.approx(record["figures"]["mae"], abs=1e-3)
        assert row["mae_std"] == ""
        assert int(row["parameters"]) == json.loads((folder / "model.json").read_text())["training"]["parameters"]
        assert (folder / "model.safetensors").stat().st_size > 2 * int(row["parameters"])
    assert f"cilf evaluate --suite {path} {output}" in (output / "faces.md").read_text()

    # Finished runs are not trained again; unfinished ones are, and another recipe is refused.
    trained = []
    monkeypatch.setattr(job, "train_all", lambda runs, *rest: trained.extend(run.place for run in runs) or [])
    assert main(["evaluate", "--suite", str(path), str(output)]) == 0
    assert not trained
    (output / "faces/dex-0/evaluation.json").unlink()
    assert main(["evaluate", "--suite", str(path), str(output)]) == 0
    assert trained == ["faces/dex-0"]
    capsys.readouterr()
    other = suite(systems={"dex": {"learning_rate": 0.1, "model": {"system": {"system": "dex"}}}})
    assert main(["evaluate", "--suite", str(other), str(output)]) == 2
    assert "another recipe (different: learning_rate)" in capsys.readouterr().err


def test_a_run_that_fails_says_why_and_is_named(ray_session, suite, tmp_path, monkeypatch, capsys):
    path = suite(data={"gone": {"path": str(tmp_path / "nowhere")}}, systems={"dex": "dex.yaml"})
    output = locate(str(tmp_path / "out"))
    [run] = read_suite(path)
    why = job.Trainer(1).train(run, (output / run.place).url)
    assert "nowhere" in why
    assert not job.done(run, output)
    monkeypatch.setattr(job, "train_all", lambda runs, *rest: [f"{runs[0].place}: {why}"])
    assert main(["evaluate", "--suite", str(path), output.path]) == 1
    error = capsys.readouterr().err
    assert "1 of 1 runs failed" in error
    assert "gone/dex-0" in error
    assert len(error.splitlines()) == 1


def test_a_run_that_breaks_does_not_affect_the_others(ray_session, suite, tmp_path, monkeypatch, capsys):
    class Trainer:
        def __init__(self, sharing):
            pass

        def train(self, run, url):
            if run.system == "dex":
                raise ValueError("this went wrong")
            (Path(url) / "evaluation.json").write_text('{"figures": {"mae": 2.0}}')

    monkeypatch.setattr(job, "Trainer", Trainer)
    (tmp_path / "out/faces/regression-0").mkdir(parents=True)
    failed = job.train_all(read_suite(suite()), locate(str(tmp_path / "out")), SimpleNamespace(gpus=0))
    assert failed == ["faces/dex-0: ValueError: this went wrong"]
    assert "[2/2] faces/regression-0: MAE 2.00" in capsys.readouterr().out
