"""cilf.datasets.faces: usable rows are read, others are skipped with a reason, and wrong data is a one-line error."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileOpener
from PIL import Image
from skimage import data

from cilf.card import Images
from cilf.datasets.faces import FaceSet, read_faces
from cilf.datasets.known_boxes import SIDES
from cilf.errors import JobError, UsageError
from cilf.images.faces import nearest_the_middle


def test_rows_of_the_split_come_in_order_and_in_full_batches(face_file):
    ages = list(range(1, 101))
    split = ["val" if age % 3 == 0 else "train" for age in ages]
    faces = FaceSet(str(face_file(ages, split=split, row_group_size=7)), "val")
    batches = list(faces.batches(Images(size=16), rows=10))
    assert [len(batch) for batch in batches] == [10, 10, 10, 3]
    assert faces.rows == 33
    read = [age for batch in batches for age in batch.ages_N]
    assert read == [age for age in ages if age % 3 == 0]
    for batch in batches:
        assert batch.images_NHWC.shape[1:] == (16, 16, 3)
        assert np.array_equal(batch.images_NHWC[:, 5, 5, 0], batch.ages_N)
        assert [f"face-{int(age) - 1}" for age in batch.ages_N] == batch.ids


def test_bad_rows_are_skipped_with_a_reason(face_file, encoded):
    images = [encoded(50), b"no image at all", encoded(50)[:40], None, encoded(50), encoded(50), encoded(50), b""]
    ages = [50, 50, 50, 50, None, 131, -1, 50]
    faces = read_faces(str(face_file([50] * 8, age=ages, image=images)), "val", 16)
    assert faces.ids == ["face-0"]
    assert [(row.id, row.reason) for row in faces.skipped if row.id != "face-2"] == [
        ("face-1", "not an image in a format that is known here"),
        ("face-3", "no image"),
        ("face-4", "no age"),
        ("face-5", "age 131 is outside 0..130"),
        ("face-6", "age -1 is outside 0..130"),
        ("face-7", "empty file"),
    ]
    assert "face-2" in {row.id for row in faces.skipped}


def test_the_box_of_a_photograph_is_read(face_file):
    photograph = np.full((80, 100, 3), 255, np.uint8)
    photograph[20:52, 10:42], photograph[20:52, 60:92] = 30, 70
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "PNG")
    boxes = [[10, 20, 42, 52], [60, 20, 92, 52], [60, 20, 60, 52], [200, 20, 232, 52], None]
    path = face_file([30, 70, 70, 70, 0], image=[buffer.getvalue()] * 5, box=pa.array(boxes, pa.list_(pa.float32(), 4)))
    faces = read_faces(str(path), "val", 16)
    assert faces.ids == ["face-0", "face-1", "face-4"]
    assert faces.images_NHWC[:, 2:-2, 2:-2].mean(axis=(1, 2, 3)).round().tolist()[:2] == [30, 70]
    assert faces.images_NHWC[2].mean() > 150
    assert [row.reason for row in faces.skipped] == [
        "its box has no size: 60, 20, 60, 52",
        "its box 200, 20, 232, 52 lies outside of the image's 100 x 80 pixels",
    ]
    sides = {side: [box[at] if box else None for box in boxes] for at, side in enumerate(SIDES)}
    of_sides = read_faces(str(face_file([30, 70, 70, 70, 0], image=[buffer.getvalue()] * 5, **sides)), "val", 16)
    assert np.array_equal(of_sides.images_NHWC, faces.images_NHWC)


def test_faces_of_photographs_are_found_on_request(face_file):
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "PNG")
    photograph, images = buffer.getvalue(), Images(size=48)
    path = str(face_file([30, 70], image=[photograph, photograph], box=pa.array([None, [169, 68, 275, 174]])))
    [whole] = FaceSet(path, "val").batches(images)
    [found] = FaceSet(path, "val", find=True).batches(images)
    expected = nearest_the_middle(photograph, images, 10**7)
    assert np.array_equal(found.images_NHWC[0], expected)
    assert not np.array_equal(whole.images_NHWC[0], expected)
    assert np.array_equal(found.images_NHWC[1], whole.images_NHWC[1])
    [none] = FaceSet(str(face_file([30])), "val", find=True).batches(images)
    assert [(row.id, row.reason) for row in none.skipped] == [("face-0", "no face is found")]


def test_ages_as_text_are_read_if_they_are_numbers(face_file):
    faces = read_faces(str(face_file([30] * 3, age=["30", "thirty", "30.5"])), "val", 16)
    assert faces.ages_N.tolist() == [30, 30.5]
    assert [row.id for row in faces.skipped] == ["face-1"]


def test_gender_and_race_are_utkface_numbers_names_or_missing(face_file):
    path = face_file([30] * 6, gender=[0, 1, None, 0, 1, 1], race=[0, 1, 2, 3, 4, 9], subject=[7, 7, None, 8, 8, 8])
    groups = read_faces(str(path), "val", 16).groups
    assert groups["gender"].tolist() == ["male", "female", None, "male", "female", "female"]
    assert groups["race"].tolist() == ["White", "Black", "Asian", "Indian", "Others", "9"]
    assert groups["subject"].tolist() == ["7", "7", None, "8", "8", "8"]
    path = face_file([30] * 2, name="named.parquet", sex=["F", "m"], race=pa.array(["a", "b"]).dictionary_encode())
    groups = read_faces(str(path), "val", 16).groups
    assert {name: values.tolist() for name, values in groups.items()} == {"gender": ["F", "m"], "race": ["a", "b"]}
    path = face_file([30] * 2, name="floats.parquet", gender=[1.0, float("nan")])
    assert read_faces(str(path), "val", 16).groups["gender"].tolist() == ["female", None]


def test_a_folder_of_files_that_differ_in_their_groups(face_file, tmp_path):
    face_file([10, 20], name="set/a.parquet", gender=[0, 1])
    face_file([30], name="set/b.parquet")
    face_file([40], name="set/_unfinished.parquet")
    faces = read_faces(str(tmp_path / "set"), "val", 16)
    assert faces.ages_N.tolist() == [10, 20, 30]
    assert faces.groups["gender"].tolist() == ["male", "female", None]
    some = faces.take(np.array([2, 0]))
    assert (some.ids, some.groups["gender"].tolist()) == (["face-0", "face-0"], [None, "male"])


def test_faces_are_read_from_a_store(bucket, face_file):
    url = bucket({"set/faces.parquet": face_file([10, 20]).read_bytes()})
    assert read_faces(f"{url}/set", "val", 16).ages_N.tolist() == [10, 20]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"age": None}, r"no column age \(its columns: id, image, split\)"),
        ({"split": None, "image": None}, "no column image, split"),
        ({"true_age": [None, 41.0]}, "is a review file: `cilf report"),
        ({"split": ["train", "test"]}, r"no rows with split = 'val' \(splits there: test, train\)"),
        ({"image": ["a.jpg", "b.jpg"]}, "image of string; expected binary"),
        ({"image": [b"", b""]}, "none of the 2 rows .* the first is face-0: empty file"),
    ],
)
def test_wrong_data_is_a_one_line_error(change, complaint, face_file):
    with pytest.raises(UsageError, match=complaint) as refused:
        read_faces(str(face_file([30, 40], **change)), "val", 16)
    assert len(str(refused.value).splitlines()) == 1


def test_no_folder_an_empty_one_and_a_broken_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        FaceSet(str(tmp_path / "nowhere"), "val")
    with pytest.raises(UsageError, match="holds no Parquet file"):
        FaceSet(str(tmp_path), "val")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"broken\.parquet"):
        FaceSet(str(tmp_path), "val")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "broken.parquet")
    with pytest.raises(UsageError, match="no column id, age, image, split"):
        FaceSet(str(tmp_path), "val")


def test_a_truncated_file_fails_the_job(face_file):
    path = face_file([30] * 200)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)  # the first pages, not the footer
    path.write_bytes(data)
    faces = FaceSet(str(path), "val")
    with pytest.raises(JobError, match=r"faces\.parquet"):
        list(faces.batches(Images(size=16)))


def test_a_large_row_group_is_not_read_at_once(face_file, monkeypatch):
    """pyarrow fetches a column's whole row group unless two options prevent it."""
    images = np.random.default_rng(0).integers(0, 256, (8192, 2000), np.uint8)
    path = face_file([30] * 8192, image=[image.tobytes() for image in images], row_group_size=8192)
    asked, read = [], LocalFileOpener.read

    def counted(self, length=-1):
        asked.append(length)
        return read(self, length)

    monkeypatch.setattr(LocalFileOpener, "read", counted)
    batches = FaceSet(str(path), "val").batches(Images(size=16))
    assert len(next(batches).skipped) == 64
    assert 2e6 < sum(asked) < 10e6  # out of 16 MB
    batches.close()
