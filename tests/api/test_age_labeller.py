"""`cilf.AgeLabeller`: a stage for pipelines of Ray Data, called directly and by Ray."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from stages import staged

import cilf

COLUMNS = ("status", "reason", "width", "height", "face_count", "faces")


@pytest.fixture(scope="module")
def labeller(model_folder) -> cilf.AgeLabeller:
    return cilf.AgeLabeller(model_folder)


def objects(values: list) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def rows(batch: dict) -> list[dict]:
    return [dict(zip(COLUMNS, values, strict=True)) for values in zip(*(batch[name] for name in COLUMNS), strict=True)]


def assert_same(found: list[dict], expected: list[dict]) -> None:
    for row, of_command in zip(found, expected, strict=True):
        assert {name: row[name] for name in COLUMNS[:-1]} == {name: of_command[name] for name in COLUMNS[:-1]}
        assert len(row["faces"]) == len(of_command["faces"])
        for face, wanted in zip(row["faces"], of_command["faces"], strict=True):
            assert face == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_uris_give_the_rows_of_the_command(labeller, model_folder, files):
    uris = [str(file) for file in files]
    labelled = labeller({"uri": np.array(uris), "number": np.arange(5)})
    assert labelled["number"].tolist() == [0, 1, 2, 3, 4]
    assert labelled["status"].tolist() == ["ok", "ok", "no_face", "unreadable", "missing"]
    assert_same(rows(labelled), staged(uris, model_folder, "detect"))


def test_bytes_give_the_rows_of_the_command(labeller, model_folder, files):
    labelled = labeller({"bytes": objects([file.read_bytes() for file in files[:4]])})
    assert_same(rows(labelled), staged([str(file) for file in files[:4]], model_folder, "detect"))


@pytest.mark.parametrize("same_size", [True, False])
def test_decoded_images_give_the_rows_of_the_command(labeller, model_folder, files, same_size):
    chosen = files[:2] if same_size else files[:3]
    images = [np.asarray(Image.open(file).convert("RGB")) for file in chosen]
    column = np.stack(images) if same_size else objects(images)
    column.flags.writeable = False  # as Ray gives them
    assert_same(rows(labeller({"image": column})), staged([str(file) for file in chosen], model_folder, "detect"))


def test_the_way_to_find_faces_and_the_column_can_be_chosen(model_folder, files):
    labeller = cilf.AgeLabeller(str(model_folder), faces="none", column="photo")
    data = objects([file.read_bytes() for file in files[:2]])
    labelled = labeller({"photo": data, "uri": np.array(["a", "b"])})
    assert_same(rows(labelled), staged([str(file) for file in files[:2]], model_folder, "none"))


def test_a_row_without_a_photograph_is_missing(labeller):
    labelled = labeller({"bytes": objects([None, b"no image"])})
    assert labelled["status"].tolist() == ["missing", "unreadable"]
    assert labelled["width"].tolist() == [None, None]
    assert labelled["faces"].tolist() == [[], []]


def test_an_empty_batch_stays_empty(labeller):
    assert {name: len(column) for name, column in labeller({"bytes": objects([])}).items()} == dict.fromkeys(
        ("bytes", *COLUMNS), 0
    )


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"path": ["a.jpg"]}, "no column bytes or image or uri, only path"),
        ({"bytes": [b""], "width": [1]}, "has the column width already"),
        ({"image": [np.zeros((3, 4, 4), np.float32)]}, r"uint8 \[H, W, 3\] in RGB, not float32"),
        ({"image": [7]}, "not int"),
        ({"uri": ["a.jpg", None]}, "without a uri"),
        (pa.table({"bytes": [b""]}), 'batch_format="numpy"'),
    ],
)
def test_other_batches_are_refused_with_what_is_expected(labeller, batch, message):
    with pytest.raises(cilf.UsageError, match=message):
        labeller(batch)


def test_a_pipeline_gives_the_numbers_of_the_command(ray_session, label_truly, model_folder, portraits, tmp_path):
    import ray

    folder = tmp_path / "photographs"
    folder.mkdir()
    for file in portraits:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "words.txt").write_text("no image")
    expected = label_truly(folder, tmp_path / "ages", "--faces", "detect").to_pylist()
    found = (
        ray.data.read_binary_files(str(folder), include_paths=True)
        .map_batches(
            cilf.AgeLabeller,
            fn_constructor_kwargs={"model": str(model_folder)},
            batch_size=4,
            concurrency=1,
            num_cpus=0.5,
        )
        .drop_columns(["bytes"])
    )
    by_path = sorted(found.take_all(), key=lambda row: row["path"])
    assert [row["path"] for row in by_path] == [row["uri"] for row in expected]
    for row, of_command in zip(by_path, expected, strict=True):
        assert row["status"] == of_command["status"]
        assert row["reason"] == of_command["reason"]
        for face, wanted in zip(row["faces"], of_command["faces"], strict=True):
            assert face == pytest.approx(wanted, rel=1e-5, abs=1e-5)
