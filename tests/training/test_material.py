"""The rows of a recipe's sources: which are trained on, which are held out, and errors before Ray starts."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from tiny_training import RECIPE, face, labelled

from cilf.cli import main
from cilf.errors import UsageError
from cilf.storage import locate
from cilf.training.calibrate import LEAST_HELD_OUT
from cilf.training.material import gather
from cilf.training.progress import Board, Teller
from cilf.training.recipe import Recipe
from cilf.training.run_folder import check_is_ours, prepare
from cilf.training.sketch import SIZE, met, sketch
from cilf.training.start import _place
from cilf.training.survey import survey

LEARN_ONLY = {"fit": None, "choose": None}


def recipe_of(data, **changes):
    return Recipe.model_validate({**RECIPE, "data": data, **changes})


def test_further_faces_are_used_for_training_only(ray_session, tmp_path):
    base = labelled(500)
    pq.write_table(pa.Table.from_pylist(base), tmp_path / "base.parquet")
    alone = gather(recipe_of({"path": str(tmp_path / "base.parquet")}), locate(str(tmp_path)))
    held, chosen = alone.held_index["id"].to_pylist(), alone.parts[0].chosen.index["id"].to_pylist()
    images = {row["id"]: row["image"] for row in base}
    more = [{"id": f"new-{n}", "age": 30, "image": face(30, 1000 + n)} for n in range(20)]
    more += [{"id": f"copy of {name}", "age": 30, "image": images[name]} for name in (held[0], chosen[0])]
    more.append({"id": "ageless", "age": None, "image": face(30, 1)})
    pq.write_table(pa.Table.from_pylist(more), tmp_path / "more.parquet")
    data = [
        {"path": str(tmp_path / "base.parquet")},
        {"path": str(tmp_path / "more.parquet"), **LEARN_ONLY, "repeat": 3},
    ]
    both = gather(recipe_of(data), locate(str(tmp_path)))
    assert both.held_index.equals(alone.held_index)
    assert both.chosen == alone.chosen
    added = both.fitted.slice(len(alone.fitted))
    assert added["id"].to_pylist() == [f"new-{n}" for n in range(20)]
    assert both.rows_per_epoch(2) == len(alone.fitted) + 60
    fit = [row["id"] for row in both.fit.select_columns(["id"]).take_all()]
    assert sorted(fit) == sorted(both.fitted["id"].to_pylist())
    again = gather(recipe_of(data), locate(str(tmp_path)))
    assert [row["id"] for row in again.fit.select_columns(["id"]).take_all()] == fit
    assert "ageless" in (tmp_path / "bad_rows.csv").read_text()
    assert both.left_out == 1


def test_each_source_with_rows_to_choose_by_is_held_out_from(ray_session, tmp_path):
    aged = labelled(300)
    grouped = [
        {
            **row,
            "id": f"g{n}",
            "age": None,
            "age_low": 30 * (n % 3),
            "age_high": None if n % 3 == 2 else 30 * (n % 3) + 29,
        }
        | {"image": face(30, 9000 + n)}
        for n, row in enumerate(labelled(300))
    ]
    images = {row["id"]: row["image"] for row in aged}
    pq.write_table(pa.Table.from_pylist(aged), tmp_path / "aged.parquet")
    aged_path, grouped_path = (str(tmp_path / f"{name}.parquet") for name in ("aged", "grouped"))
    alone = gather(recipe_of({"path": aged_path}, held_out=0.45), locate(str(tmp_path)))
    held = alone.held_index["id"].to_pylist()
    grouped[1]["image"] = images[held[0]]  # the second source is of split=train there
    pq.write_table(pa.Table.from_pylist(grouped), tmp_path / "grouped.parquet")
    both = gather(
        recipe_of([{"path": aged_path}, {"path": grouped_path, "repeat": 0.5}], held_out=0.45), locate(str(tmp_path))
    )
    assert both.held_index.slice(0, len(held))["id"].to_pylist() == held
    assert len(both.held_index) - len(held) == round(0.45 * 270)
    assert "g1" not in both.fitted["id"].to_pylist()
    assert [group.name for group in both.groups] == ["0-29", "30-59", "60+"]
    assert both.chosen == 60
    assert sorted(both.fitted["repeat"].unique().to_pylist()) == [0.5, 1]
    learned = len(both.fitted) - len(alone.fitted)
    assert abs(both.rows_per_epoch(5) - len(alone.fitted) - learned / 2) < learned / 5
    rows = both.fit.select_columns(["id", "repeat"]).take_all()
    assert sorted((row["id"], row["repeat"]) for row in rows) == sorted(
        zip(both.fitted["id"].to_pylist(), both.fitted["repeat"].to_pylist(), strict=True)
    )
    assert "a photo of a person of 60 or more years" in both.captions


def test_a_person_who_is_held_out_is_not_learned_from(ray_session, tmp_path):
    rows = [{**row, "subject": f"s{number // 2}"} for number, row in enumerate(labelled(1000))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "base.parquet")
    more = [{"age": 30, "image": face(30, 5000 + n), "subject": f"s{n}"} for n in range(500)]
    pq.write_table(pa.Table.from_pylist(more), tmp_path / "more.parquet")
    data = [{"path": str(tmp_path / "base.parquet")}, {"path": str(tmp_path / "more.parquet"), **LEARN_ONLY}]
    material = gather(recipe_of(data), locate(str(tmp_path)))
    kept = set(material.held_index["subject"].to_pylist()) | set(material.parts[0].chosen.index["subject"].to_pylist())
    learned = material.fitted["subject"].to_pylist()[-10:]
    assert not kept & set(learned)
    assert not set(material.held_index["subject"].to_pylist()) & set(material.fitted["subject"].to_pylist())


@pytest.fixture
def before_ray(monkeypatch):
    """Forbid Ray to start: errors must be reported before."""
    monkeypatch.setattr("cilf.training.job.running", lambda *_: pytest.fail("Ray was started"))


FEW = f"36 of 90 subjects are held out, but calibration needs at least {LEAST_HELD_OUT}"


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_too_few_people_are_reported_before_ray_starts(before_ray, kind, recipe_file, tmp_path, capsys):
    rows = pa.Table.from_pylist(labelled(100))
    if kind == "parquet":
        pq.write_table(rows, tmp_path / "faces.parquet")
    else:
        names = pa.array([f"{n}.png" for n in range(100)])
        lists = rows.drop_columns(["image"]).append_column("path", names)
        if kind == "csv":
            pyarrow.csv.write_csv(lists, tmp_path / "faces.csv")
        else:
            (tmp_path / "faces.jsonl").write_text("\n".join(map(json.dumps, lists.to_pylist())))
    file = recipe_file({"path": str(tmp_path / f"faces.{kind}")})
    began = time.monotonic()
    assert main(["train", str(file), str(tmp_path / "run")]) == 2
    assert time.monotonic() - began < 20
    error = capsys.readouterr().err
    assert FEW in error
    assert "corrections.yaml" in error
    assert not (tmp_path / "run").exists()


def test_people_are_counted_not_rows(tmp_path):
    rows = [{**row, "subject": f"{number % 150}"} for number, row in enumerate(labelled(3000))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faces.parquet")
    with pytest.raises(UsageError, match="54 of 135 subjects"):
        survey(recipe_of({"path": str(tmp_path / "faces.parquet")}))
    rows = [{**row, "subject": f"{number % 200}"} for number, row in enumerate(labelled(3000))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faces.parquet")
    survey(recipe_of({"path": str(tmp_path / "faces.parquet")}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"data": {"path": "{}/none"}}, "found no labelled photographs"),
        ({"data": {"path": "{}/faces.parquet", "fit": "learn"}}, "no rows with split = 'learn'"),
        ({"data": {"path": "{}/faces.parquet", "choose": "dev"}}, "no rows with split = 'dev'"),
        ({"data": [{"path": "{}/faces.parquet"}, {"path": "{}/gone.csv"}]}, "gone.csv"),
    ],
)
def test_missing_data_is_reported_before_ray_starts(before_ray, changes, complaint, tmp_path):
    pq.write_table(pa.Table.from_pylist(labelled(500)), tmp_path / "faces.parquet")
    recipe = json.loads(json.dumps({**RECIPE, **changes}).replace("{}", str(tmp_path)))
    with pytest.raises(UsageError, match=complaint):
        survey(Recipe.model_validate(recipe))


@pytest.mark.parametrize("there", ["notes.txt", "recipe.yaml", "model.json", "photographs/a.jpg"])
def test_a_folder_of_somebody_else_is_left_alone(before_ray, there, faces, recipe_file, tmp_path, capsys):
    output = tmp_path / "run"
    (output / there).parent.mkdir(parents=True)
    (output / there).write_text("mine")
    assert main(["train", str(recipe_file({"path": str(faces)})), str(output)]) == 2
    assert "holds something other than a training run" in capsys.readouterr().err
    assert (output / there).read_text() == "mine"
    assert [path.name for path in output.iterdir()] == [there.partition("/")[0]]


def test_an_earlier_run_and_an_empty_folder_are_accepted(tmp_path):
    recipe = recipe_of({"path": "p"})
    prepare(recipe, locate(str(tmp_path)))
    prepare(recipe, locate(str(tmp_path)))
    with pytest.raises(UsageError, match="another recipe"):
        prepare(recipe_of({"path": "q"}), locate(str(tmp_path)))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        check_is_ours(locate(str(tmp_path / "file")))


def test_locations_are_normalised(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    written = ["data", "./data", "data/", "link", "x/../data", f"{tmp_path}/data", f"file://{tmp_path}/data"]
    assert len(set(map(_place, written))) == 1
    assert _place("s3://bucket/data/") == _place("s3://bucket/./data") != _place("s3://bucket/other")


def test_a_sketch_recognises_its_faces():
    draw = torch.Generator().manual_seed(0)
    seen, other = (
        pa.chunked_array([torch.randint(-(2**62), 2**62, (20_000,), generator=draw).numpy()]) for _ in range(2)
    )
    noted = sketch(seen)
    assert len(noted) == SIZE
    assert met(noted, other) == 0
    assert met(noted, seen) == SIZE
    assert met(noted, seen.slice(0, 2000)) > SIZE / 20
    assert met(sketch(other, noted), seen) > SIZE / 3


def test_the_terminal_shows_steps_epochs_and_the_time_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("cilf.training.progress.time.monotonic", lambda: clock[0])
    board = Board()
    teller = Teller(board.say, 20, steps=10, epochs=5, unit="years")
    teller.step(21, 3.0, 50.0)  # too soon for another line
    clock[0] += 40
    teller.step(24, 2.5, 64.0)
    clock[0] += 60
    teller.epoch(30, 2.0, 1064.0, {"mae": 7.125})
    teller.epoch(50, 1.0, 64.0, {"mae": 5.0, "accuracy": 61.25})
    assert board.since(0) == [
        "resuming from step 20 of 50",
        "epoch 3 of 5, step 4 of 10: loss 2.500, 64 faces/s, about 0:04:20 left",
        "epoch 3 of 5: loss 2.000, MAE 7.12 years, 1,064 faces/s, about 0:03:20 left",
        "epoch 5 of 5: loss 1.000, MAE 5.00 years, 61.2 % of groups correct, 64 faces/s",
    ]
    assert board.since(3) == ["epoch 5 of 5: loss 1.000, MAE 5.00 years, 61.2 % of groups correct, 64 faces/s"]
