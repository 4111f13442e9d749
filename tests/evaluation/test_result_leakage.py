"""The leakage of an evaluation: how many measured rows show people who are also in the data's other splits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileOpener
from rich.console import Console

from cilf.datasets.faces import FaceSet
from cilf.evaluation.job import evaluate_model

SPLITS = ["val"] * 6 + ["train", "train", "test", None]
PEOPLE = ["a", "a", "b", None, "d", "e", "a", "c", "b", "e"]
CAVEAT = "What other data the model has seen is not known here."


@pytest.fixture
def measured(face_file, encoded, reader):
    """Evaluate faces of these splits and people; the last one of split=val has no image."""

    def measure(splits, people, **given):
        images = [encoded(40)] * len(splits)
        images[5] = None
        return evaluate_model(
            reader,
            FaceSet(str(face_file([40] * len(splits), image=images, split=splits, subject=people)), "val"),
            **given,
        )

    return measure


def test_the_leakage_is_counted_and_shown_everywhere(measured):
    evaluation = measured(SPLITS, PEOPLE)
    told = (
        "Leakage: 3 of 4 tested rows (75.0%) show a person who also appears in other splits of the data, 2 of 3 "
        f"people. For 1 more, the person is unknown. {CAVEAT}"
    )
    assert evaluation.record["leakage"] == {
        "test": 5,
        "people": 3,
        "unknown": 1,
        "shared": 3,
        "shared_people": 2,
        "told": told,
    }
    assert told in evaluation.markdown()
    shown = Console(file=io.StringIO(), width=80)
    shown.print(evaluation.terminal())
    assert told in " ".join(shown.file.getvalue().split())


def test_rows_without_a_split_count_as_other_splits(measured):
    assert measured(["val"] * 9 + [None], ["x"] * 10).record["leakage"]["shared"] == 8


@pytest.mark.parametrize(
    ("splits", "people", "told"),
    [
        (SPLITS, None, "Leakage unknown: none of the 5 tested rows, or none of the other rows, has a known"),
        (SPLITS, [*PEOPLE[:6], None, None, None, None], "Leakage unknown: none of the 5 tested rows, or none of the"),
        (SPLITS, [None] * 6 + PEOPLE[6:], "Leakage unknown: none of the 5 tested rows, or none of the other rows"),
        (["val"] * 10, PEOPLE, f"Leakage unknown: the data has only rows of this split. {CAVEAT}"),
    ],
)
def test_leakage_is_unknown_without_subjects(splits, people, told, measured):
    leakage = measured(splits, people).record["leakage"]
    assert leakage["told"].startswith(told)
    assert leakage["unknown"] == leakage["test"]
    assert (leakage["shared"], leakage["people"]) == (0, 0)


def test_after_training_the_training_subjects_count(measured):
    leakage = measured(SPLITS, PEOPLE, learned=["d", None]).record["leakage"]
    assert leakage["told"] == (
        "Leakage: 1 of 4 tested rows (25.0%) show a person who is also in the training data, 1 of 3 people. For 1 "
        f"more, the person is unknown. {CAVEAT}"
    )


def test_subjects_match_across_files_with_different_types(face_file, tmp_path, reader):
    face_file([10, 20], name="set/a.parquet", subject=[7, 8])
    face_file([30, 40], name="set/b.parquet", subject=[7.0, None], split=["train", "train"])
    face_file([50], name="set/c.parquet", split=["train"])
    assert evaluate_model(reader, FaceSet(str(tmp_path / "set"), "val")).record["leakage"]["shared"] == 1


def test_leakage_reads_no_images(face_file, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2000, 2000), np.uint8)
    split = ["val"] + ["train"] * 1999
    path = face_file([30] * 2000, image=[image.tobytes() for image in images], split=split, subject=["a"] * 2000)
    read, real = [], LocalFileOpener.read

    def counted(self, length=-1):
        data = real(self, length)
        read.append(len(data))
        return data

    monkeypatch.setattr(LocalFileOpener, "read", counted)
    faces = FaceSet(str(path), "val")
    assert (faces.rows, faces.others, faces.known_others) == (1, 1999, {"a"})
    assert 0 < sum(read) < 1e6  # out of 4 MB
