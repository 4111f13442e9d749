"""`cilf evaluate --degraded`: the same faces under each degradation, compared with the originals."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cilf import cli
from cilf.age_space import AgeSpace
from cilf.config import DEFAULT_MODEL
from cilf.datasets.age_groups import AgeGroup
from cilf.datasets.face_sample import sampled
from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.evaluation import degraded_plot, degraded_tables
from cilf.evaluation.degradations import DEGRADATIONS
from cilf.evaluation.degraded import measure_degraded
from cilf.evaluation.truth import Truth

AGES = list(range(12, 72, 2))


@pytest.fixture
def record(face_file, encoded, reader):
    """A record of faces whose brightness is their age, which ReadsAges reads, and of one file that is not an image."""
    path = face_file([*AGES, 40], image=[*map(encoded, AGES), b"torn"])
    return measure_degraded(reader, FaceSet(str(path), "val"))


def by_name(record):
    return {row["name"]: row for row in record["degradations"]}


def test_each_face_is_compared_with_itself(record):
    rows, ages = by_name(record), np.array(AGES, float)
    assert list(rows) == ["as it is", *(known.name for known in DEGRADATIONS)]
    assert {(row["rows"], row["lost"]) for row in rows.values()} == {(30, 0)}
    clean = rows["as it is"]
    assert clean["error"]["value"] == pytest.approx(2)
    assert (clean["moved"]["value"], clean["above_clean"]["value"], clean["covered"]["value"]) == (0, 0, 1)
    half = rows["light × 0.5"]
    assert half["moved"]["value"] == pytest.approx((ages / 2).mean(), abs=0.01)
    assert half["above_clean"]["value"] == pytest.approx((np.abs(ages / 2 + 2 - ages) - 2).mean(), abs=0.01)
    assert half["covered"]["value"] == 0
    assert half["accepted"]["value"] == 1 > clean["accepted"]["value"]
    for name in ("PNG", "grey", "shift 3 %", "zoom + 10 %", "turn 8°", "blur σ 2", "32 pixels"):
        assert rows[name]["moved"]["value"] == 0  # the faces are plain squares
    assert 0 < rows["noise σ 8"]["moved"]["value"] < rows["noise σ 16"]["moved"]["value"] < 3


def test_a_degradation_without_usable_faces_is_a_result(face_file, reader):
    # The reader returns NaN for a face of 99, which is what 71 becomes.
    faces = FaceSet(str(face_file([71.0] * 5 + [50.0], split=["val"] * 5 + ["train"])), "val")
    record = measure_degraded(reader, faces)
    row = by_name(record)["light × 1.4"]
    assert row == {"name": "light × 1.4", "kind": "light", "rows": 0, "lost": 5}
    assert "light × 1.4: 5" in degraded_tables.markdown(record)
    degraded_plot.figure(record)
    with pytest.raises(UsageError, match="none of the 2 rows"):
        measure_degraded(reader, FaceSet(str(face_file([99.0] * 2, name="b.parquet")), "val"))


def test_a_box_is_scaled_with_its_photograph(face_file, reader):
    # No face is found here, so the crop is that of the box. If the box were not shrunk too, the crop would be black.
    image = np.zeros((600, 600, 3), np.uint8)
    image[300:, 300:] = 50
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    path = face_file([50.0], image=[file.getvalue()], box=[[410.0, 410.0, 490.0, 490.0]])
    rows = by_name(measure_degraded(reader, FaceSet(str(path), "val")))
    assert rows["as it is"]["error"]["value"] == pytest.approx(2)
    assert rows["32 pixels"]["moved"]["value"] == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("box", [[5.0, 5.0, 5.0, 5.0], [float("nan")] * 4])
def test_a_bad_box_costs_only_its_row(face_file, reader, box):
    path = face_file([50.0, 60.0], box=[box, None])
    assert {row["rows"] for row in measure_degraded(reader, FaceSet(str(path), "val"))["degradations"]} == {1}


def test_the_sample_of_faces_is_always_the_same(face_file):
    faces = FaceSet(str(face_file([float(age) for age in range(100)], split=["val", "train"] * 50)), "val")
    one, again = (sampled(faces, 20).table for _ in range(2))
    ages = one["age"].to_pylist()
    assert ages == again["age"].to_pylist() == sorted(set(ages))
    assert len(ages) == 20
    assert all(age % 2 == 0 for age in ages)
    assert min(ages) < 30 < 70 < max(ages)
    assert len(sampled(faces, 1000).table) == 50


def test_the_measure_of_age_groups_is_the_share_of_wrong_groups(face_file, encoded, reader):
    low, high = [0, 20, 40, 40] * 10, [19, 39, None, None] * 10
    ages = [10.0, 30.0, 50.0, 70.0] * 10
    path = face_file(ages, image=[encoded(age) for age in ages], age=None, age_low=low, age_high=high)
    record = measure_degraded(reader, FaceSet(str(path), "val"))
    rows = by_name(record)
    assert record["measure"] == "wrong group, %"
    assert record["age_groups"] == ["0-19", "20-39", "40+"]
    assert rows["as it is"]["error"]["value"] == 0
    # In half the light, the estimates for 10, 30, 50 and 70 are 7, 17, 27 and 37.
    assert rows["light × 0.5"]["error"]["value"] == 75
    assert rows["light × 0.5"]["above_clean"]["value"] == 75
    assert "share of the years" in degraded_tables.markdown(record)


def test_a_subset_of_faces_keeps_its_truth():
    groups = [AgeGroup(0, 19), AgeGroup(20, None)]
    truth = Truth.of(AgeSpace(0, 29), groups, np.full(3, np.nan), {"age_group": np.array(["0-19", "20+", "20+"])})
    low, high, one = np.array([0, 20, 28]), np.array([9, 29, 40]), np.array([2])
    assert truth.covered(low, high) == pytest.approx([0.5, 1, 0.2])
    assert truth.take(one).covered(low[one], high[one]) == pytest.approx([0.2])
    assert truth.take(one).errors(np.array([5.0])) == [100]


def test_the_table_fits_a_terminal_and_states_the_number_of_faces(record):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(degraded_tables.terminal(record))
    text = console.export_text()
    assert all(known.name in text for known in DEGRADATIONS)
    assert "All 31 faces" in text
    page = degraded_tables.markdown(record)
    assert page.count("\n| ") == len(DEGRADATIONS) + 3
    json.dumps(record, allow_nan=False)


def test_the_command_overwrites_only_its_own_files(face_file, reader, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cilf.evaluation.degraded.Estimator", lambda folder: reader)
    out = tmp_path / "out"
    command = ["evaluate", DEFAULT_MODEL, str(face_file(AGES)), "--degraded", "--output", str(out)]
    assert cli.main(command) == 0
    assert {file.name for file in out.iterdir()} == {"degraded.json", "degraded.md", "degraded.png"}
    assert Image.open(out / "degraded.png").size == (2250, 1800)
    (out / "degraded.json").write_text("{}")
    assert cli.main(command) == 2
    assert "from something else" in capsys.readouterr().err


def test_only_one_kind_of_measurement_at_a_time(face_file, capsys):
    command = ["evaluate", DEFAULT_MODEL, str(face_file([40.0])), "--degraded", "--epsilon-sweep"]
    assert cli.main(command) == 2
    assert "--epsilon-sweep and --degraded cannot be combined" in capsys.readouterr().err
