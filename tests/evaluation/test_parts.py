"""`cilf evaluate --parts`: the network without each of its parts, and the gain of correction."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cilf import cli
from cilf.config import DEFAULT_MODEL
from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.evaluation.parts import markdown, measure_parts, terminal
from cilf.models.cilf import CILF

AGES = [float(age) for age in range(10, 70)]


class TakenApart:
    """Stand-in for a network with two parts."""

    parts = ("blocks", "score map")

    def __init__(self):
        self.gone = None

    @contextmanager
    def without(self, part):
        assert self.gone is None
        self.gone = part
        try:
            yield
        finally:
            self.gone = None


@pytest.fixture
def estimator(reader):
    """First estimates are 3 years off, 8 without the blocks, and 3 without the score map. Faces above 48 years get a
    second look, which reduces the error by a year."""

    class Reader(type(reader)):
        model = TakenApart()

        def __call__(self, images_NHWC):
            said = super().__call__(images_NHWC)
            return replace(said, first_age=said.first_age + (5 if self.model.gone == "blocks" else 0))

    return Reader()


def measured(estimator, path):
    return measure_parts(estimator, FaceSet(str(path), "val"))


def test_the_contribution_of_a_part_is_the_increase_without_it(face_file, estimator):
    record = measured(estimator, face_file(AGES))
    assert record["whole"]["value"] == pytest.approx(3, abs=1e-5)
    blocks, score_map = record["parts"]
    assert (blocks["name"], score_map["name"]) == estimator.model.parts
    assert blocks["error"]["value"] == pytest.approx(8, abs=1e-5)
    # All faces lose the same, so every resample gives the same value.
    assert list(blocks["above_whole"].values()) == pytest.approx([5, 5, 5], abs=1e-5)
    assert list(score_map["above_whole"].values()) == [0, 0, 0]
    assert estimator.model.gone is None
    json.dumps(record, allow_nan=False)


def test_correction_is_measured_on_faces_with_a_second_look(face_file, estimator):
    record = measured(estimator, face_file(AGES))["correction"]
    assert record["rows"] == sum(age + 2 > 50 for age in AGES)
    assert record["share"] == pytest.approx(record["rows"] / len(AGES))
    figures = [record[name]["value"] for name in ("before", "after", "gain")]
    assert figures == pytest.approx([3, 2, 1], abs=1e-5)


def test_without_second_looks_correction_gains_nothing(face_file, estimator):
    record = measured(estimator, face_file([20.0, 30.0, 40.0]))
    assert record["correction"] == {"rows": 0, "share": 0}
    assert "nothing is gained" in markdown(record)


def test_the_measure_of_age_groups_is_the_share_of_wrong_ones(face_file, encoded, estimator):
    ages = [10.0, 22.0, 30.0, 34.0] * 10
    columns = {"age": None, "age_low": [0, 20, 20, 20] * 10, "age_high": [19, 39, 39, 39] * 10}
    record = measured(estimator, face_file(ages, image=[encoded(age) for age in ages], **columns))
    assert record["measure"] == "wrong group, %"
    assert (record["whole"]["value"], record["parts"][0]["error"]["value"]) == (0, 0)


def test_rows_that_cannot_be_used_are_left_out(face_file, encoded, estimator):
    # The reader returns NaN for a face of 99.
    path = face_file([20.0, 99.0, 40.0], image=[encoded(20), encoded(99), b"torn"])
    assert measured(estimator, path)["data"] == {
        "path": str(path),
        "split": "val",
        "found": False,
        "rows": 3,
        "evaluated": 1,
    }
    with pytest.raises(UsageError, match="none of the 1 rows"):
        measured(estimator, face_file([99.0], name="other.parquet"))


def test_other_systems_are_refused(face_file, reader):
    reader.model = SimpleNamespace(parts=())
    with pytest.raises(UsageError, match="measures the parts of CILF-CIAE, but reader is another system"):
        measured(reader, face_file(AGES))


def test_the_command_shows_and_writes_it(face_file, estimator, tmp_path, monkeypatch):
    monkeypatch.setattr("cilf.evaluation.parts.Estimator", lambda folder: estimator)
    out = tmp_path / "out"
    assert cli.main(["evaluate", DEFAULT_MODEL, str(face_file(AGES)), "--parts", "--output", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == {"parts.json", "parts.md"}
    record = json.loads((out / "parts.json").read_text())
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(record))
    for text in (console.export_text(), (out / "parts.md").read_text()):
        assert "+5.00 [+5.00, +5.00]" in text
        assert "a gain of +1.00 [+1.00, +1.00]" in " ".join(text.split())


def test_whole_subjects_are_resampled(face_file, estimator):
    record = measured(estimator, face_file(AGES, subject=[str(row // 6) for row in range(len(AGES))]))
    assert (record["bootstrap"]["over"], record["bootstrap"]["units"]) == ("subjects", 10)
    assert np.isfinite(record["parts"][0]["above_whole"]["low"])


def test_every_part_of_the_network_can_be_left_out(face_file, model_folder):
    estimator = Estimator(model_folder)
    record = measured(estimator, face_file(AGES[:8]))
    assert tuple(part["name"] for part in record["parts"]) == CILF.parts
    whole = record["whole"]["value"]
    assert any(part["error"]["value"] != pytest.approx(whole) for part in record["parts"])
    assert measured(estimator, face_file(AGES[:8]))["whole"]["value"] == pytest.approx(whole, abs=1e-4)
