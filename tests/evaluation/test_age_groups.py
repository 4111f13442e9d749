"""`cilf evaluate` on faces with age groups: accuracy and 1-off, compared with hand calculations, and refused data."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from cilf.cli import main
from cilf.datasets.age_groups import AgeGroup
from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.evaluation.age_groups import assess, covered, group_of
from cilf.evaluation.job import evaluate_model

ADIENCE = [AgeGroup(*pair) for pair in [(0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100)]]

GROUPS = {(0, 2): [0] * 30, (4, 6): [3] * 15 + [9] * 15, (8, 12): [8] * 10 + [70] * 20, (60, None): [80] * 6 + [1] * 24}
"""Brightness of the faces of each group; the estimate is two years more. 3 years are equally near to 0-2 and 4-6."""


@pytest.mark.parametrize(
    ("age", "group"),
    [(0, 0), (2.9, 0), (3, 0), (3.1, 1), (6.5, 1), (13, 2), (22, 3), (35, 4), (45, 5), (55, 6), (57, 7), (116, 7)],
)
def test_group_of_an_age(age, group):
    assert group_of(np.array([age]), ADIENCE).tolist() == [group]


def test_nobody_is_too_old_for_the_last_group():
    groups = [AgeGroup(60, 69), AgeGroup(70, None)]
    assert group_of(np.array([65, 69.4, 69.6, 130]), groups).tolist() == [0, 0, 1, 1]
    assert [group.name for group in groups] == ["60-69", "70+"]


def test_accuracy_and_one_off(estimates_with):
    true = ["0-2", "8-12", "4-6", "60-100", "25-32"]
    estimates = estimates_with(np.array([1.0, 5.0, 18.0, 70.0, 39.0]), np.zeros(5))
    assessed = assess(estimates, ADIENCE, {"age_group": np.array(true, object)}, 100)
    assert assessed["all"]["accuracy"]["value"] == 40
    assert assessed["all"]["one_off"]["value"] == 80


def test_an_interval_holds_a_share_of_a_group():
    groups = [AgeGroup(0, 19), AgeGroup(20, 29), AgeGroup(90, None)]
    low, high = np.array([15, 24.5, 31, 80, 90]), np.array([50, 26.0, 40, 95, 120])
    # All ten years; 25 and 26; no year; 90 to 95 out of 90 to 100; all eleven years.
    held = covered(low, high, groups, np.array([1, 1, 1, 2, 2]), oldest=100)
    assert held == pytest.approx([1, 0.2, 0, 6 / 11, 1])


@pytest.fixture
def grouped(face_file, encoded):
    """GROUPS as split=val, and one face of another group in split=test."""
    bounds = [pair for pair, faces in GROUPS.items() for _ in faces] + [(20, 30)]
    bright = [face for faces in GROUPS.values() for face in faces] + [20]
    return face_file(
        [0] * 121,
        age=pa.nulls(121, pa.float32()),
        image=[encoded(face) for face in bright],
        age_low=[float(low) for low, _ in bounds],
        age_high=pa.array([high for _, high in bounds], pa.float32()),
        sex=["F"] * 60 + ["M"] * 61,
        subject=[str(row // 2) for row in range(121)],
        split=["val"] * 120 + ["test"],
    )


@pytest.fixture
def evaluation(grouped, reader):
    return evaluate_model(reader, FaceSet(str(grouped), "val"))


def test_groups_of_all_splits_count(evaluation):
    record = evaluation.record
    assert [group["name"] for group in record["age_groups"]] == ["0-2", "4-6", "8-12", "20-30", "60+"]
    assert record["age_groups"][-1] == {"name": "60+", "low": 60, "high": None}
    assert record["figures"]["accuracy"] == pytest.approx(100 * (30 + 15 + 10 + 6) / 120)
    assert record["figures"]["one_off"] == pytest.approx(100 * (30 + 30 + 10 + 6) / 120)  # 20-30 lies between
    assert record["figures"]["rows"] == record["data"]["evaluated"] == 120
    assert "mae" not in record["figures"]
    assert record["confusion"] == [
        [30, 0, 0, 0, 0],
        [0, 15, 15, 0, 0],
        [0, 0, 10, 0, 20],
        [0, 0, 0, 0, 0],
        [24, 0, 0, 0, 6],
    ]


def test_each_group_of_people_and_of_ages_has_its_own_figures(evaluation):
    record = evaluation.record
    rows = {(row["by"], row["group"]): row for row in record["groups"]}
    assert list(rows) == [
        *(("age", name) for name in ("0-2", "4-6", "8-12", "60+")),
        *(("gender", "F"), ("gender", "M"), ("judgement", "accepted"), ("judgement", "not accepted")),
    ]
    assert rows["gender", "F"]["accuracy"]["value"] == 75
    assert rows["gender", "M"]["accuracy"]["value"] == pytest.approx(100 * 16 / 60)
    assert rows["age", "60+"]["one_off"]["value"] == pytest.approx(20)
    assert rows["judgement", "not accepted"]["hidden"]  # 26 of 72 or 82 years
    gap = record["gaps"]["gender"]
    assert (gap["lowest"], gap["highest"], gap["value"]) == ("M", "F", pytest.approx(75 - 100 * 16 / 60))
    assert (record["bootstrap"]["over"], record["bootstrap"]["units"]) == ("subjects", 60)
    assert rows["gender", "F"]["accuracy"]["low"] < 75 < rows["gender", "F"]["accuracy"]["high"]


def test_files_and_texts_of_an_evaluation_by_age_group(evaluation, tmp_path):
    evaluation.write(tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == evaluation.record
    rows = pq.read_table(tmp_path / "estimates.parquet")
    assert "age" not in rows.column_names
    assert rows["age_group"].to_pylist()[59:61] == ["4-6", "8-12"]
    text = (tmp_path / "evaluation.md").read_text()
    assert "The data has age groups instead of ages: 0-2, 4-6, 8-12, 20-30, 60+." in text
    assert "| all | 120 | 50.8 [" in text
    assert "| 60+ | 24 | 0 | 0 | 0 | 6 |" in text
    assert "MAE" not in text
    pixels = np.asarray(Image.open(tmp_path / "evaluation.png").convert("RGB"))
    assert pixels.shape[1] >= 2000
    for panel in np.array_split(pixels, 3, axis=1):
        assert ((panel.max(axis=2).astype(int) - panel.min(axis=2)) > 60).sum() > 500
    shown = Console(file=io.StringIO(), width=80)
    shown.print(evaluation.terminal())
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    [women] = [line.split() for line in lines if line.strip().startswith("F ")]
    assert (women[0], women[1], women[2], women[4]) == ("F", "60", "75.0", "100.0")


def test_rows_without_a_group_are_named(face_file, reader):
    low, high = [0, 30, -1, None, 60, 200], [10, 20, 5, 5, None, None]
    evaluation = evaluate_model(reader, FaceSet(str(face_file([5] * 6, age=None, age_low=low, age_high=high)), "val"))
    assert {row["id"]: row["reason"] for row in evaluation.record["skipped"]["rows"]} == {
        "face-1": "an age group of 30-20 years",
        "face-2": "an age group of -1-5 years",
        "face-3": "no age group",
        "face-5": "an age group of 200+ years",
    }


def test_rows_with_age_groups_are_skipped_if_others_have_ages(face_file, reader):
    path = face_file([50, 20], age=[50, None], age_low=[None, 18], age_high=[None, 25])
    evaluation = evaluate_model(reader, FaceSet(str(path), "val"))
    assert evaluation.record["figures"]["mae"] == pytest.approx(2)
    assert evaluation.record["skipped"]["rows"] == [
        {"id": "face-1", "reason": "an age group, where other rows have ages"}
    ]


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([0, 0], [9, 9], "only one age group, 0-9"),
        ([0, 9], [9, 20], "0-9 and 9-20, which overlap"),
        ([60, 70], [None, 80], r"60\+ and 70-80, which overlap"),
        ([None, None], [None, 9], "none of the 2 rows .* no age group"),
    ],
)
def test_unusable_age_groups_are_refused(low, high, message, face_file, reader):
    path = face_file([5, 5], age=None, age_low=pa.array(low, pa.float32()), age_high=pa.array(high, pa.float32()))
    with pytest.raises(UsageError, match=message):
        evaluate_model(reader, FaceSet(str(path), "val"))


def test_the_command_and_the_sweep_that_needs_ages(model_folder, grouped, tmp_path, capsys):
    assert main(["evaluate", str(model_folder), str(grouped), "--output", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "There is no MAE." in said
    estimates = pq.read_table(tmp_path / "out" / "estimates.parquet")["estimate"].to_numpy()
    low, high = np.array([0, 4, 8, 20, 60]), np.array([2, 6, 12, 30, 999])
    truth = np.repeat([0, 1, 2, 4], 30)
    nearest = [int(np.maximum(low - age, np.maximum(age - high, 0)).argmin()) for age in estimates]
    accuracy = json.loads((tmp_path / "out" / "evaluation.json").read_text())["figures"]["accuracy"]
    assert accuracy == pytest.approx(100 * (np.array(nearest) == truth).mean())
    assert main(["evaluate", str(model_folder), str(grouped), "--epsilon-sweep"]) == 2
    assert "it needs ages" in capsys.readouterr().err
