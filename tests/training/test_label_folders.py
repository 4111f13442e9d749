"""Labels in the names of folders, `subject=007/split=train/part-0.parquet`, as Hive, Spark and pyarrow write them."""

import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_training import face

from cilf.card import Images, Model
from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.training.recipe import Source
from cilf.training.rows import read_rows
from cilf.training.sources import open_source

PEOPLE = {"007": "train", "7": "train", "a b": "val", "__HIVE_DEFAULT_PARTITION__": "train"}
SUBJECTS = {"007", "7", None}
"""Subjects of split=train."""


def below(folder, subject, split):
    place = folder / f"subject={subject.replace(' ', '%20')}" / f"split={split}"
    place.mkdir(parents=True)
    return place


def parquet_folders(folder):
    """A photograph of each of PEOPLE, in a Parquet file without subjects and splits."""
    for number, (subject, split) in enumerate(PEOPLE.items()):
        table = pa.table({"id": [f"{number}"], "image": [face(30, number)], "age": [30]})
        pq.write_table(table, below(folder, subject, split) / "p.parquet")


def lists(folder, kind):
    for subject, split in PEOPLE.items():
        text = "uri,age\na.png,30\n" if kind == "csv" else '{"uri": "a.png", "age": 30}\n'
        (below(folder, subject, split) / f"p.{kind}").write_text(text)


def tars(folder):
    for subject, split in PEOPLE.items():
        place = below(folder, subject, split)
        (place / "a.json").write_text('{"age": 30}')
        (place / "a.png").write_bytes(face(30, 0))
        with tarfile.open(place / "p.tar", "w") as tar:
            for name in ("a.json", "a.png"):
                tar.add(place / name, name)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "tar"])
def test_training_reads_the_labels_of_folders(kind, tmp_path):
    {"parquet": parquet_folders, "tar": tars}.get(kind, lambda folder: lists(folder, kind))(tmp_path)
    rows = list(open_source(str(tmp_path), "train").labels())
    assert [row.get("wrong") for row in rows] == [None] * 3
    assert {row["subject"] for row in rows} == SUBJECTS
    assert [row["subject"] for row in open_source(str(tmp_path), "val").labels()] == ["a b"]


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_tasks_read_the_labels_of_folders(kind, ray_session, tmp_path):
    {"parquet": parquet_folders, "tar": tars}[kind](tmp_path)
    found = read_rows(Source(path=str(tmp_path)), "train", Model(images=Images(size=32)))
    assert set(found.index["subject"].to_pylist()) == SUBJECTS
    assert found.bad == []


def test_evaluation_reads_the_labels_of_folders(tmp_path):
    parquet_folders(tmp_path)
    faces = FaceSet(str(tmp_path), "train")
    assert (faces.rows, faces.others, faces.known_others) == (3, 1, {"a b"})
    [batch] = faces.batches(Images(size=16))
    assert set(batch.groups["subject"].tolist()) == SUBJECTS


def test_folder_names_may_hold_ages_and_groups(tmp_path):
    for age, low, gender in ((20, 18, "female"), (40, 38, "male")):
        place = tmp_path / f"age={age}" / f"age_low={low}" / f"age_high={low + 5}" / f"gender={gender}"
        place.mkdir(parents=True)
        pq.write_table(pa.table({"id": [gender], "image": [face(30, 0)], "split": ["val"]}), place / "p.parquet")
    [batch] = FaceSet(str(tmp_path), "val").batches(Images(size=16))
    assert batch.ages_N.tolist() == [20, 40]
    assert batch.groups["gender"].tolist() == ["female", "male"]
    assert [row["age"] for row in open_source(str(tmp_path), "val").labels()] == ["20", "40"]


def test_labels_in_a_file_take_precedence(tmp_path):
    table = pa.table({"id": ["a"], "image": [face(30, 0)], "age": [30], "subject": ["8"], "split": ["val"]})
    pq.write_table(table, below(tmp_path, "7", "train") / "p.parquet")
    assert [row["subject"] for row in open_source(str(tmp_path), "val").labels()] == ["8"]
    [batch] = FaceSet(str(tmp_path), "val").batches(Images(size=16))
    assert batch.groups["subject"].tolist() == ["8"]
    (below(tmp_path / "lists", "7", "train") / "p.jsonl").write_text(
        json.dumps({"uri": "a", "age": 30, "subject": "8"})
    )
    assert [row["subject"] for row in open_source(str(tmp_path / "lists"), "train").labels()] == ["8"]


@pytest.mark.parametrize(("folder", "fault"), [("Subject=7", "differs from `subject`"), ("age=7/age=8", "`age` twice")])
def test_folders_are_held_to_the_names_of_labels(folder, fault, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    table = pa.table({"id": ["a"], "image": [face(30, 0)], "age_low": [30], "age_high": [35], "split": ["val"]})
    pq.write_table(table, tmp_path / folder / "p.parquet")
    for attempt in (lambda: open_source(str(tmp_path), "val"), lambda: FaceSet(str(tmp_path), "val")):
        with pytest.raises(UsageError, match=fault):
            attempt()


def test_other_folders_and_those_above_the_data_are_ignored(tmp_path):
    place = tmp_path / "subject=7" / "camera=X"
    place.mkdir(parents=True)
    table = pa.table({"id": ["a"], "image": [face(30, 0)], "age": [30], "split": ["val"]})
    pq.write_table(table, place / "p.parquet")
    for data in (tmp_path / "subject=7", place / "p.parquet", place / "*.parquet"):
        [row] = open_source(str(data), "val").labels()
        assert row.keys() == {"id", "age", "split"}
        assert "subject" not in next(FaceSet(str(data), "val").batches(Images(size=16))).groups
