"""Every layout of labelled photographs gives the same rows; bad rows are reported."""

import io
import json
import math
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_training import labelled

from cilf.card import Ages, Images, Model
from cilf.datasets.known_boxes import BOX_COLUMNS, SIDES, box_of
from cilf.errors import JobError, UsageError
from cilf.images.decode import decode
from cilf.models.settings import MiVolo
from cilf.training.examine import NO_FACE, examine
from cilf.training.recipe import Source
from cilf.training.rows import Rows, check_share, fitted_rows, read_rows

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def rows():
    return labelled(30)


def layout(kind, rows, folder, *labels):
    """Write rows in a layout, with further labels or the age; return the path for read_rows."""
    labels = labels or ("age",)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "faces.parquet")
        return folder
    if kind == "tar":
        with tarfile.open(folder / "faces.tar", "w") as tar:
            for row in rows:
                said = {name: row[name] for name in ("split", "id", *labels)}
                for suffix, data in (("json", json.dumps(said).encode()), ("png", row["image"])):
                    entry = tarfile.TarInfo(f"{row['id']}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        return folder
    for row in rows:
        (folder / f"{row['id']}.png").write_bytes(row["image"])
    named = [{"path": f"{row['id']}.png"} | {name: row[name] for name in ("id", "split", *labels)} for row in rows]
    if kind == "csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(named), folder / "labels.csv")
        return folder / "labels.csv"
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    return folder / "labels.jsonl"


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "tar"])
def test_every_layout_gives_the_same_rows(kind, rows, tmp_path):
    found = read_rows(Source(path=str(layout(kind, rows, tmp_path))), "train", Model())
    wanted = {row["id"]: row for row in rows if row["split"] == "train"}
    got = {row["id"]: row for row in found.good.take_all()}
    assert found.bad == []
    assert set(got) == set(wanted)
    assert all(got[i]["image"] == row["image"] and got[i]["age"] == row["age"] for i, row in wanted.items())
    assert found.index["id"].to_pylist() == [row["id"] for row in found.good.take_all()]


@pytest.mark.parametrize("kind", ["parquet", "tar", "csv"])
def test_rows_keep_the_order_of_their_files(kind, tmp_path):
    rows = labelled(400)
    for part in range(4):
        (tmp_path / f"{part}").mkdir()
        layout(kind, rows[100 * part : 100 * part + 100], tmp_path / f"{part}")
    found = read_rows(Source(path=str(tmp_path)), "train", Model())
    assert found.index["id"].to_pylist() == [row["id"] for row in rows if row["split"] == "train"]
    assert [row["id"] for row in found.good.take_all()] == found.index["id"].to_pylist()


def photograph() -> bytes:
    """Two faces that can be found only by their boxes, a red and a blue one, each above a body of half its colour."""
    pixels = np.full((300, 400, 3), 128, np.uint8)
    for left, colour in ((80, (200, 0, 0)), (280, (0, 0, 200))):
        pixels[100:300, left - 60 : left + 100] = np.array(colour) // 2
        pixels[20:60, left : left + 40] = colour
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


BOXES = [[80, 20, 120, 60], [280, 20, 320, 60], None, [80, 20, 80, 60], [500, 20, 540, 60], [80, 20, None, 60]]


@pytest.mark.parametrize("box", [[1, "a", 2, 3], "1 2 3 4", 7, {"left": 1}, [1, 2, 3], []])
def test_an_invalid_box_is_not_taken_for_a_whole_image(box):
    assert all(map(math.isnan, box_of({"box": box})))
    assert box_of({"box": None}) is None
    assert box_of({"age": 30}) is None


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "tar"])
def test_a_box_says_which_face_of_a_photograph_is_learned(kind, tmp_path):
    image, rows = photograph(), []
    for number, box in enumerate(BOXES):
        sides = {"box": box} if kind in ("parquet", "tar") else dict(zip(SIDES, box or [None] * 4, strict=True))
        rows.append({"id": f"{number}", "split": "train", "age": 30, "image": image, **sides})
    labels = ("age", *(name for name in rows[0] if name in BOX_COLUMNS))
    path = str(layout(kind, rows, tmp_path, *labels))
    found = read_rows(Source(path=path), "train", Model(images=Images(size=64)))
    images = {row["id"]: row["image"] for row in found.good.take_all()}
    assert set(images) == {"0", "1", "2"}
    for name, colour in (("0", [200, 0, 0]), ("1", [0, 0, 200])):
        crop = decode(images[name], 64, 10**6)
        assert (crop.width, crop.height) == (74, 74)  # room for augmentation
        np.testing.assert_allclose(crop.crop[4:-4, 4:-4].mean(axis=(0, 1)), colour, atol=3)
    assert images["2"] == image
    reasons = {row["id"]: row["reason"] for row in found.bad}
    assert reasons["3"] == "its box has no size: 80, 20, 80, 60"
    assert reasons["4"] == "its box 500, 20, 540, 60 lies outside of the image's 400 x 300 pixels"
    assert "not four numbers" in reasons["5"]


def test_bodies_are_cropped_for_models_that_use_them():
    table = pa.table(
        {"age": [30.0] * 3, "image": [photograph()] * 3, "box": pa.array(BOXES[:3], pa.list_(pa.float64()))}
    )
    assert examine(table)["body"].null_count == 3
    model = Model(system=MiVolo(), images=Images(size=64, body=True))
    first, second, none = examine(table, model)["body"].to_pylist()
    assert none is None
    for body, colour in ((first, [100, 0, 0]), (second, [0, 0, 100])):
        np.testing.assert_allclose(decode(body, 64, 10**6).crop[40:56, 24:40].mean(axis=(0, 1)), colour, atol=3)


def test_a_manifest_of_uris_on_s3(rows, bucket, tmp_path):
    url = bucket({f"{row['id']}.png": row["image"] for row in rows})
    table = [{"uri": f"{url}/{row['id']}.png", "age": row["age"]} for row in rows]
    table.append({"uri": f"{url}/gone.png", "age": 30})
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "manifest.parquet")
    found = read_rows(Source(path=str(tmp_path / "manifest.parquet")), None, Model())
    assert len(found) == 30
    assert [bad["id"] for bad in found.bad] == [f"{url}/gone.png"]
    assert "missing" in found.bad[0]["reason"]


def test_each_kind_of_bad_row_is_named():
    good = labelled(1)[0]["image"]
    table = pa.table(
        {
            "id": ["good", "old", "unborn", "ageless", "empty", "junk", "half"],
            "age": pa.array([30.0, 250.0, -1.0, None, 30.0, 30.0, 30.0]),
            "image": pa.array([good, good, good, good, None, b"junk", good[: len(good) // 2]], pa.binary()),
        }
    )
    reasons = dict(zip(table["id"].to_pylist(), examine(table)["reason"].to_pylist(), strict=True))
    assert reasons["good"] is None
    assert reasons["old"] == "an age of 250 years"
    assert reasons["unborn"] == "an age of -1 years"
    assert reasons["ageless"] == "no age"
    assert reasons["empty"] == "no image"
    assert reasons["junk"].startswith("unreadable")
    assert reasons["half"].startswith("unreadable")


def test_a_group_without_an_age_is_learned_as_its_middle():
    image = labelled(1)[0]["image"]
    rows = [
        ("25 to 32", None, 25, 32, 28.5),
        ("70 and older", None, 70, None, 85),
        ("an age counts", 30, 40, 50, 30),
        ("of one year", None, 3, 3, 3),
        ("older than anybody", None, 110, None, 110),
    ]
    names, ages, low, high, learned = map(list, zip(*rows, strict=True))
    columns = {"age": pa.array(ages, pa.float32()), "age_low": low, "age_high": pa.array(high, pa.float64())}
    table = pa.table({"id": names, "image": [image] * len(rows), **columns})
    examined = examine(table)
    assert examined["reason"].null_count == len(rows)
    assert examined["age"].to_pylist() == learned
    assert examined["age_low"].to_pylist() == [25, 70, None, 3, 110]
    assert examined["age_high"].to_pylist() == [32, None, None, 3, None]
    assert examine(table, Model(ages=Ages(oldest=80)))["age"].to_pylist()[1] == 75
    without = examine(table.drop_columns(["age"]))
    assert without["age"].to_pylist() == [28.5, 85, 45, 3, 110]


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (30.0, 20.0, "an age group of 30-20 years"),
        (-1.0, 5.0, "an age group of -1-5 years"),
        (120.0, 130.0, "an age group of 120-130 years"),
        (None, 5.0, "no age"),
        (float("nan"), float("nan"), "no age"),
    ],
)
def test_bad_groups_are_named(low, high, reason):
    table = pa.table({"id": ["x"], "age_low": [low], "age_high": [high], "image": [labelled(1)[0]["image"]]})
    assert examine(table)["reason"].to_pylist() == [reason]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "tar"])
def test_groups_come_from_every_layout(kind, rows, tmp_path):
    grouped = [{**row, "age_low": 10 * (row["age"] // 10), "age_high": 10 * (row["age"] // 10) + 9} for row in rows]
    found = read_rows(Source(path=str(layout(kind, grouped, tmp_path, "age_low", "age_high"))), "train", Model())
    assert found.bad == []
    assert found.index["age"].to_pylist() == [10 * (row["age"] // 10) + 4.5 for row in rows if row["split"] == "train"]


def test_more_than_one_bad_row_in_twenty_stops_the_run(tmp_path):
    rows = labelled(40)
    for row in rows[:2]:
        row["image"] = b"junk"
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    check_share(read_rows(Source(path=str(path)), None, Model()), str(path))  # 5 %
    rows[2]["age"] = 250
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(JobError, match=r"3 of 40 rows .* more than 5%"):
        check_share(read_rows(Source(path=str(path)), None, Model()), str(path))


def test_photographs_without_a_face_are_no_error_unless_all_lack_one():
    none = [{"id": f"{n}", "reason": NO_FACE} for n in range(8)]
    some = Rows(None, none, pa.table({"id": ["a"] * 12}))
    check_share(some, "here")
    with pytest.raises(JobError, match="2 of 22 rows of here cannot be used for training"):
        check_share(Rows(None, [*none, *[{"id": "x", "reason": "no age"}] * 2], some.index), "here")
    with pytest.raises(JobError, match="no face is found in any of the 8 photographs of here"):
        check_share(Rows(None, none, some.index.slice(0, 0)), "here")


@pytest.mark.parametrize(
    ("columns", "split", "complaint"),
    [
        ({"image": [b"x"]}, None, "no column age"),
        ({"age": [1]}, None, "no column image"),
        ({"age": [1], "image": [b"x"]}, "train", "no column split"),
        ({"age": [1], "image": [b"x"], "split": ["val"]}, "train", "no rows with split = 'train'"),
    ],
)
def test_what_is_not_labelled_photographs_is_refused(columns, split, complaint, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    with pytest.raises(UsageError, match=complaint):
        read_rows(Source(path=str(tmp_path)), split, Model())


def test_missing_data_is_refused(tmp_path):
    with pytest.raises(UsageError, match="found no labelled photographs at"):
        read_rows(Source(path=str(tmp_path / "nowhere")), None, Model())
    with pytest.raises(UsageError, match="no Parquet, CSV"):
        read_rows(Source(path=str(tmp_path)), None, Model())


def test_held_out_subjects_are_wholly_held_out():
    index = pa.table(
        {"id": [f"r{n}" for n in range(1000)], "subject": [f"s{n % 100}" if n % 2 else None for n in range(1000)]}
    )
    fitted = fitted_rows(index, 0.12, seed=3)
    sides: dict[str, set[bool]] = {}
    for row, side in zip(index.to_pylist(), fitted, strict=True):
        sides.setdefault(row["subject"] or row["id"], set()).add(bool(side))
    assert all(len(seen) == 1 for seen in sides.values())
    assert sum(seen == {False} for seen in sides.values()) == round(0.12 * len(sides))
    assert (fitted == fitted_rows(index, 0.12, seed=3)).all()
    assert (fitted != fitted_rows(index, 0.12, seed=4)).any()
