"""Every layout of labelled photographs gives the same rows; bad ones are named."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from tiny_training import labelled

from cilf.errors import JobError, UsageError
from cilf.training.rows import check_share, examine, fitted_rows, read_rows

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def rows():
    return labelled(30)


def layout(kind, rows, folder):
    """Write rows in a layout; what read_rows is to be given."""
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "faces.parquet")
        return folder
    if kind == "tar":
        with tarfile.open(folder / "faces.tar", "w") as tar:
            for row in rows:
                labels = {"age": row["age"], "split": row["split"], "id": row["id"]}
                for suffix, data in (("json", json.dumps(labels).encode()), ("png", row["image"])):
                    entry = tarfile.TarInfo(f"{row['id']}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        return folder
    for row in rows:
        (folder / f"{row['id']}.png").write_bytes(row["image"])
    named = [{"id": r["id"], "age": r["age"], "split": r["split"], "path": f"{r['id']}.png"} for r in rows]
    if kind == "csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist(named), folder / "labels.csv")
        return folder / "labels.csv"
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    return folder / "labels.jsonl"


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "tar"])
def test_every_layout_gives_the_same_rows(kind, rows, tmp_path):
    found = read_rows(str(layout(kind, rows, tmp_path)), "train")
    wanted = {row["id"]: row for row in rows if row["split"] == "train"}
    got = {row["id"]: row for row in found.good.take_all()}
    assert found.bad == []
    assert set(got) == set(wanted)
    assert all(got[i]["image"] == row["image"] and got[i]["age"] == row["age"] for i, row in wanted.items())
    assert found.index["id"].to_pylist() == [row["id"] for row in found.good.take_all()]


def test_a_manifest_of_uris_on_s3(rows, bucket, tmp_path):
    url = bucket({f"{row['id']}.png": row["image"] for row in rows})
    table = [{"uri": f"{url}/{row['id']}.png", "age": row["age"]} for row in rows]
    table.append({"uri": f"{url}/gone.png", "age": 30})
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "manifest.parquet")
    found = read_rows(str(tmp_path / "manifest.parquet"), None)
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
    reasons = dict(zip(table["id"].to_pylist(), examine(table, "/")["reason"].to_pylist(), strict=True))
    assert reasons["good"] is None
    assert reasons["old"] == "an age of 250 years"
    assert reasons["unborn"] == "an age of -1 years"
    assert reasons["ageless"] == "no age"
    assert reasons["empty"] == "no image"
    assert reasons["junk"].startswith("unreadable")
    assert reasons["half"].startswith("unreadable")


def test_more_than_one_bad_row_in_twenty_stops_the_run(tmp_path):
    rows = labelled(40)
    for row in rows[:2]:
        row["image"] = b"junk"
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    check_share(read_rows(str(path), None), str(path))  # 5 %
    rows[2]["age"] = 250
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(JobError, match=r"3 of 40 rows .* more than 5%"):
        check_share(read_rows(str(path), None), str(path))


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
        read_rows(str(tmp_path), split)


def test_missing_data_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there are no labelled photographs at"):
        read_rows(str(tmp_path / "nowhere"), None)
    with pytest.raises(UsageError, match="neither Parquet"):
        read_rows(str(tmp_path), None)


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
