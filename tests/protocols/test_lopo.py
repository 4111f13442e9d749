"""`cilf lopo` from photographs to its tables, resuming an interrupted run, and input that it rejects."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from frozen_people import picture

from cilf import cli
from cilf.card import Images
from cilf.estimator import Estimator
from cilf.images.faces import whole
from cilf.lopo.features import ESTIMATES, Frozen, frozen_features
from cilf.lopo.people import read_people
from cilf.models.checkpoint import load_model

PEOPLE, EACH = 8, 6


@pytest.fixture(scope="module")
def fgnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with FG-NET's file names: plain squares without faces whose colour goes from blue to red with age."""
    folder = tmp_path_factory.mktemp("fgnet") / "images"
    folder.mkdir()
    ages = np.random.default_rng(1).permutation(np.linspace(0, 69, PEOPLE * EACH).round().astype(int))
    for number, age in enumerate(ages):
        (folder / f"{number // EACH + 1:03}A{age:02}{'abcdefgh'[number % EACH]}.png").write_bytes(picture(age, number))
    return folder


def test_from_photographs_to_tables_and_resume(ray_session, model_folder, fgnet, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["lopo", str(model_folder), str(fgnet), str(output), "--systems", "cilf_ciae", "dex", "coral"]
    assert cli.main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "48 photographs of 8 people" in said
    assert "Leakage: 0 of 48 tested rows (0.0%)" in said
    record = json.loads((output / "lopo.json").read_text())
    assert record["without_a_face"] == 48
    assert (record["run"]["fits_done"], record["run"]["fits_found"]) == (24, 0)
    assert [row["system"] for row in record["systems"]] == ["as_it_is", "cilf_ciae", "dex", "coral"]

    estimates = pq.read_table(output / "estimates.parquet")
    ages = estimates["age"].to_numpy()
    for row in record["systems"]:
        errors = np.abs(estimates[row["system"]].to_numpy() - ages)
        assert row["mae"]["value"] == pytest.approx(errors.mean(), abs=1e-5)
        assert row["cs5"]["value"] == pytest.approx(100 * (errors <= 5).mean())
        subjects = np.array(estimates["subject"].to_pylist())
        by_person = [errors[subjects == subject].mean() for subject in set(subjects)]
        assert row["by_person"]["mean"] == pytest.approx(np.mean(by_person), abs=1e-5)
        assert row["by_person"]["std"] == pytest.approx(np.std(by_person, ddof=1), abs=1e-5)
    with (output / "lopo.csv").open() as file:
        lines = {line["system"]: line for line in csv.DictReader(file)}
    assert float(lines["dex"]["mae"]) == record["systems"][2]["mae"]["value"]
    assert "| DEX |" in (output / "lopo.md").read_text()
    assert (output / "lopo.png").read_bytes().startswith(b"\x89PNG")

    # As after a killed run: two folds and the results are missing.
    (work,) = (output / "work").iterdir()
    for gone in (work / "folds/dex/002.parquet", work / "folds/coral/005.parquet"):
        gone.unlink()
    (output / "lopo.json").unlink()
    features = (work / "features.npz").stat().st_mtime_ns
    assert cli.main(arguments) == 0
    again = json.loads((output / "lopo.json").read_text())
    assert (again["run"]["fits_done"], again["run"]["fits_found"]) == (2, 22)
    assert again["systems"] == record["systems"]
    assert (work / "features.npz").stat().st_mtime_ns == features


def test_frozen_features_are_what_the_model_sees(model_folder, fgnet):
    people = read_people(str(fgnet))
    frozen = frozen_features(model_folder, people.ids[:3], people.images[:3])
    assert frozen.found_N.tolist() == [0, 0, 0]
    estimator = Estimator(model_folder, device="cpu")
    crops = np.concatenate([whole(image, Images(size=32), 10**8).crops_NHWC for image in people.images[:3]])
    said = estimator(crops)
    for column, name in enumerate(ESTIMATES):
        assert frozen.estimates_NJ[:, column] == pytest.approx(getattr(said, name).astype(float), abs=1e-3)
    with torch.inference_mode():
        out = load_model(model_folder).network(estimator.normalise(torch.from_numpy(crops)))
    assert frozen.x_NVMX[:, 0, 0, 32:] == pytest.approx(out.score_logits_BK.numpy(), abs=1e-4)
    packed = Frozen.unpacked(frozen.packed())
    assert np.array_equal(packed.x_NVMX, frozen.x_NVMX)


def test_parquet_and_folder_give_the_same_people(fgnet, tmp_path):
    people = read_people(str(fgnet))
    columns = {"subject": [int(s) for s in people.subjects_N], "age": people.ages_N.astype(int), "name": people.ids}
    pq.write_table(pa.table({**columns, "image": people.images}), tmp_path / "a.parquet")
    same = read_people(str(tmp_path / "a.parquet"))
    assert (same.ids, same.images, same.ages_N.tolist()) == (people.ids, people.images, people.ages_N.tolist())
    pq.write_table(
        pa.table({**columns, "uri": [os.path.relpath(f"{fgnet}/{name}", tmp_path) for name in people.ids]}),
        tmp_path / "b.parquet",
    )
    assert read_people(str(tmp_path / "b.parquet")).digest == same.digest
    assert same.digest != people.digest  # subjects are named 1 here and 001 there


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "has 2 people; leaving one out needs 8 or more"),
        ({"subject": ["1", None, "2"]}, "b has no subject"),
        ({"age": [1, 2, 200]}, "c has the age 200"),
        ({"image": [b"x", b"", b"x"]}, "b has no image"),
        ({"image": None}, "has no column image (its columns: id, subject, age)"),
    ],
)
def test_people_that_cannot_be_used(model_folder, tmp_path, capsys, changes, message):
    rows = {"id": ["a", "b", "c"], "subject": ["1", "1", "2"], "age": [1, 2, 3], "image": [b"x"] * 3} | changes
    table = pa.table({name: values for name, values in rows.items() if values is not None})
    pq.write_table(table, tmp_path / "faces.parquet")
    arguments = ["lopo", str(model_folder), str(tmp_path / "faces.parquet"), str(tmp_path / "out")]
    assert cli.main(arguments) == cli.WRONG_USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lopo.json", "lopo.md", "estimates.parquet"])
def test_files_of_others_are_not_replaced(model_folder, fgnet, tmp_path, capsys, name):
    (tmp_path / name).write_text('{"systems": "mine"}')
    assert cli.main(["lopo", str(model_folder), str(fgnet), str(tmp_path)]) == cli.WRONG_USAGE
    assert f"{name} from something else" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {name: '{"systems": "mine"}'}


def test_an_image_that_cannot_be_decoded(ray_session, model_folder, tmp_path, capsys):
    rows = {"id": list("abcdefgh"), "subject": list("12345678"), "age": [1] * 8, "image": [b"no image"] * 8}
    pq.write_table(pa.table(rows), tmp_path / "faces.parquet")
    arguments = ["lopo", str(model_folder), str(tmp_path / "faces.parquet"), str(tmp_path / "out")]
    assert cli.main(arguments) == cli.WRONG_USAGE
    assert "a is not an image that can be read" in capsys.readouterr().err
