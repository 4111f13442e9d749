"""Warnings if options do not fit the objects."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from cilf.config import LabelOptions
from cilf.labelling.doubts import faceless, without_thumbnails
from cilf.storage import locate

OPTIONS = LabelOptions("in", "out", faces="none")


def rows(folder: Path, files: list[bytes]) -> pa.Table:
    for number, content in enumerate(files):
        (folder / f"{number}.png").write_bytes(content)
    uris = [f"{folder}/{number}.png" for number in range(len(files))]
    return pa.table({"id": range(len(files)), "uri": uris, "bytes": [len(content) for content in files]})


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    """A portrait with a small face, and images without people."""
    return [encoded(Image.fromarray(make())) for make in (data.astronaut, data.rocket, data.coffee, data.chelsea)]


@pytest.fixture(scope="module")
def crops() -> list[bytes]:
    """Crops of a face, one tight and two with margins."""
    portrait = Image.fromarray(data.astronaut())
    return [encoded(portrait.crop(box)) for box in ((169, 68, 275, 174), (140, 30, 300, 190), (120, 20, 320, 220))]


def test_photographs_taken_for_faces_are_said(tmp_path, photographs):
    said = faceless(rows(tmp_path, photographs), OPTIONS)
    assert said is not None
    assert said.startswith("4 of 4 images checked show no face that fills them")
    assert "--faces detect" in said


def test_one_rocket_is_enough(tmp_path, photographs):
    said = faceless(rows(tmp_path, photographs[1:2]), OPTIONS)
    assert said is not None
    assert said.startswith("1 of 1 image checked")


def test_crops_raise_no_doubt(tmp_path, crops):
    assert faceless(rows(tmp_path, crops), OPTIONS) is None


def test_the_majority_counts(tmp_path, crops, photographs):
    assert faceless(rows(tmp_path, crops + photographs[:3]), OPTIONS) is None
    said = faceless(rows(tmp_path, crops + photographs), OPTIONS)
    assert said is not None
    assert said.startswith("4 of 7 images")


def test_what_cannot_be_read_or_fetched_does_not_count(tmp_path, crops):
    few = rows(tmp_path, [*crops[:1], b"", b"no image", crops[0][:900]])
    gone = pa.table({"id": [9], "uri": [f"{tmp_path}/gone.png"], "bytes": [5]})
    assert faceless(pa.concat_tables([few, gone]), OPTIONS) is None
    assert faceless(gone, OPTIONS) is None


def test_rows_without_thumbnails_are_counted(tmp_path):
    assert without_thumbnails(locate(str(tmp_path / "none yet"))) is None
    pq.write_table(pa.table({"id": range(3), "thumbnails": [[b"jpeg"], [], None]}), tmp_path / "with.parquet")
    assert without_thumbnails(locate(str(tmp_path))) is None
    pq.write_table(pa.table({"id": range(1_200)}), tmp_path / "without.parquet")
    said = without_thumbnails(locate(str(tmp_path)))
    assert said == "1,200 objects labelled earlier without --thumbnails will have none: add --relabel to make them"
