"""`cilf evaluate` and `evaluate_model`: the files and texts, and that no row is lost."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from cilf.cli import main
from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.evaluation.job import check_is_ours, evaluate_model
from cilf.storage import locate

FILES = {"estimates.parquet", "evaluation.json", "evaluation.md", "evaluation.png"}


@pytest.fixture
def people(face_file, encoded):
    """240 faces of 1 to 80 years, four that cannot be used, and one for which the estimator returns NaN."""
    ages = [*range(1, 81)] * 3 + [30, 30, None, 200, 99]
    images = [encoded(age or 0) for age in ages]
    images[240] = b"torn"
    images[241] = None
    gender = [row % 2 for row in range(245)]
    race = ["left", "right", "centre"] * 81 + ["rare", "left"]
    return face_file([0] * 245, age=ages, image=images, gender=gender, race=race)


@pytest.fixture
def evaluation(people, reader):
    return evaluate_model(reader, FaceSet(str(people), "val"))


def test_every_row_is_estimated_or_listed_as_skipped(evaluation, reader):
    record = evaluation.record
    assert record["data"]["rows"] == 245
    assert record["data"]["evaluated"] == record["figures"]["rows"] == len(evaluation.estimates) == 240
    assert record["skipped"]["total"] == 5
    assert {row["id"]: row["reason"] for row in record["skipped"]["rows"]} == {
        "face-240": "not an image in a format that is known here",
        "face-241": "no image",
        "face-242": "no age",
        "face-243": "age 200 is outside 0..130",
        "face-244": "the model gives no number",
    }
    assert record["figures"]["mae"] == pytest.approx(2)
    assert record["all"]["mae"]["value"] == pytest.approx(2)
    assert record["all"]["corrected"]["value"] == pytest.approx(32 / 80)
    assert record["risk_coverage"]["accepted"]["coverage"] == pytest.approx(57 / 80)
    assert max(reader.batches) <= 64


def test_estimates_keep_all_columns(evaluation):
    table = evaluation.estimates
    assert table.column_names == [
        *("id", "age", "estimate", "first_age", "age_low", "age_high"),
        *("expected_error", "corrections", "accepted", "gender", "race"),
    ]
    row = table.slice(78, 1).to_pylist()[0]
    assert row == {
        "id": "face-78",
        "age": 79,
        "estimate": 81,
        "first_age": 82,
        "age_low": 78,
        "age_high": 84,
        "expected_error": pytest.approx(81 / 20),
        "corrections": 1,
        "accepted": False,
        "gender": "male",
        "race": "left",
    }


def test_markdown_has_each_band_and_group(evaluation):
    text = evaluation.markdown()
    bands = [line for line in text.splitlines() if line.startswith("| 13-20 ")]
    assert len(bands) == 1
    assert "| 24 | – |" in bands[0]  # too few for figures
    for name, figures in (
        ("0-12", "36 | 2.00 [2.00, 2.00] | 100.0 [100.0, 100.0]"),
        ("21-40", "60 | 2.00"),
        ("61+", "60 | 2.00"),
        ("female", "120 | 2.00 [2.00, 2.00] | 100.0"),
        ("centre", "80 | 2.00"),
        ("not accepted", "69 | 2.00"),
    ):
        assert f"| {name} | {figures}" in text
    assert "| face-243 | age 200 is outside 0..130 |" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert "nan" not in text.lower()


def test_the_terminal_shows_it_within_80_columns(evaluation):
    shown = Console(file=io.StringIO(), width=80)
    shown.print(evaluation.terminal())
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown.file.getvalue()
    [band] = [line.split() for line in lines if line.strip().startswith("21-40")]
    assert band == ["21-40", "60", "2.00", "2.00–2.00", "100.0", "2.00", "+2.00", "100.0%", "6.0"]
    assert any("5 skipped; 95 % bootstrap over 240 rows" in line for line in lines)


def test_files_are_complete_and_strict_json(evaluation, tmp_path):
    evaluation.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert json.loads(text, parse_constant=refuse) == evaluation.record
    assert pq.read_table(tmp_path / "out" / "estimates.parquet").equals(evaluation.estimates)
    pixels = np.asarray(Image.open(tmp_path / "out" / "evaluation.png").convert("RGB"))
    assert pixels.shape[1] >= 2000
    assert (pixels[:5] == 255).all()  # a light background
    # Each of the eight panels has at least two colours.
    for half in np.array_split(pixels, 2, axis=0):
        for panel in np.array_split(half, 4, axis=1):
            inked = panel[(panel.max(axis=2) - panel.min(axis=2)) > 60]
            assert len(inked) > 500
            assert len(np.unique(inked // 64, axis=0)) >= 2


def test_plots_of_a_single_row(face_file, reader, tmp_path):
    faces = face_file([40], race=[r"$\no formula$ | of any kind, and much longer than its room"])
    evaluate_model(reader, FaceSet(str(faces), "val")).write(tmp_path / "one")
    assert (tmp_path / "one" / "evaluation.png").stat().st_size > 20_000
    assert json.loads((tmp_path / "one" / "evaluation.json").read_text())["figures"]["mae"] == pytest.approx(2)


def test_written_to_a_store(evaluation, bucket, monkeypatch):
    import s3fs

    monkeypatch.setattr("cilf.evaluation.plots.picture", lambda record, estimates: b"drawn in other tests")
    url = bucket({})
    evaluation.write(f"{url}/mine")
    listed = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True).ls(f"{url}/mine")
    assert {path.rpartition("/")[2] for path in listed} == FILES


def test_the_command_from_end_to_end(model_folder, face_file, tmp_path, monkeypatch, capsys):
    ages = list(range(1, 71))
    faces = face_file([*ages, 20], gender=[row % 2 for row in range(71)], split=["val"] * 70 + ["test"])
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(model_folder), str(faces)]) == 0
    output = tmp_path / "runs" / "evaluate" / model_folder.name
    assert {path.name for path in output.iterdir()} == FILES
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tiny on faces.parquet, split=val"
    assert said[-1] == f"evaluation.md, evaluation.png, evaluation.json and estimates.parquet are in {output}"
    record = json.loads((output / "evaluation.json").read_text())
    rows = pq.read_table(output / "estimates.parquet")
    errors = np.abs(rows["estimate"].to_numpy() - np.array(ages))
    assert record["figures"]["mae"] == pytest.approx(errors.mean(), abs=1e-4)
    assert record["all"]["mae"]["value"] == pytest.approx(errors.mean(), abs=1e-4)
    assert record["speed"]["estimation_images_per_second"] > 0

    assert main(["evaluate", str(model_folder), str(faces), "--split", "test", "--output", "elsewhere"]) == 0
    assert json.loads((tmp_path / "elsewhere" / "evaluation.json").read_text())["figures"]["rows"] == 1
    assert "are in " + str(tmp_path / "elsewhere") in capsys.readouterr().out


def test_wrong_usage_is_one_line(model_folder, tmp_path, capsys):
    assert main(["evaluate", str(model_folder), str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "nowhere does not exist" in said.err


def test_only_an_earlier_sweep_is_overwritten(model_folder, face_file, tmp_path, capsys):
    (tmp_path / "epsilon.csv").write_text("mine")
    command = ["evaluate", str(model_folder), str(face_file([20, 30], split=["val"] * 2)), "--epsilon-sweep"]
    assert main([*command, "--output", str(tmp_path)]) == 2
    assert "epsilon.csv from something else" in capsys.readouterr().err
    assert (tmp_path / "epsilon.csv").read_text() == "mine"


def test_only_an_earlier_evaluation_is_overwritten(evaluation, tmp_path):
    check_is_ours(locate(str(tmp_path)))
    (tmp_path / "notes.txt").write_text("mine")
    check_is_ours(locate(str(tmp_path)))
    evaluation.write(tmp_path)
    check_is_ours(locate(str(tmp_path)))
    for mine in ("mine", "{}", "[1]"):
        (tmp_path / "evaluation.json").write_text(mine)
        with pytest.raises(UsageError, match=r"evaluation\.md.* from something else"):
            check_is_ours(locate(str(tmp_path)))
