import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema
from cilf.config import LabelOptions
from cilf.labelling.raised_bounds import Raised
from cilf.manifest import pending
from cilf.manifest.pending import forget, labelled, outdated, without
from cilf.storage import locate


def save(folder, name: str, statuses: dict[int, str]) -> None:
    rows = [
        {"id": number, "uri": f"/{number}", "status": status, "run": "r", "labelled_at": 0}
        for number, status in statuses.items()
    ]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.LABELS), folder / name)


@pytest.fixture
def labels(tmp_path):
    folder = tmp_path / "model=x"
    save(folder, "one.parquet", {3: "ok", 1: "unavailable", 2: "unreadable"})
    save(folder, "two.parquet", {5: "unavailable"})
    (folder / ".three.parquet.tmp").write_bytes(b"unfinished")
    return locate(str(folder))


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_labelled(labels):
    found = labelled(labels)
    assert found.done.tolist() == [2, 3]
    assert found.unavailable.tolist() == [1, 5]


def too_large(folder, reasons: list[str | None], status: str = "too_large") -> None:
    rows = [
        {"id": number, "uri": f"/{number}", "status": status, "reason": reason, "run": "r", "labelled_at": 0}
        for number, reason in enumerate(reasons)
    ]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.LABELS), folder / f"{status}.parquet")


@pytest.mark.parametrize(
    ("bounds", "again"),
    [
        ({}, [0, 1, 2]),
        ({"max_bytes": 101}, [0]),
        ({"max_pixels": 1001}, [1, 2]),
        ({"max_bytes": 100, "max_pixels": 1000}, []),
        ({"max_bytes": 99, "max_pixels": 999}, []),
    ],
)
def test_what_was_too_large_for_lower_bounds_is_tried_again(tmp_path, bounds, again):
    too_large(
        tmp_path / "model=x",
        [
            "600 bytes, more than the 100 allowed",
            "90 x 90 pixels, more than the 1000 allowed",
            "30 x 30 pixels that take 9000 bytes to decode, more than the 7000 allowed",
            "too large in another way",
            None,
        ],
    )
    too_large(tmp_path / "model=x", ["600 bytes, more than the 100 allowed"] * 9, "unreadable")
    smallest = {"max_bytes": 1, "max_pixels": 1} | bounds if bounds else {}
    found = labelled(locate(str(tmp_path / "model=x")), Raised(LabelOptions("in", "out", **smallest)))
    assert found.unavailable.tolist() == again
    assert len(found.done) == 14 - len(again)


def test_files_that_are_not_fetched_at_once(labels, monkeypatch):
    whole = labelled(labels)
    monkeypatch.setattr(pending, "_SMALL", 100)
    found = labelled(labels)
    assert found.done.tolist() == whole.done.tolist()
    assert found.unavailable.tolist() == whole.unavailable.tolist()


def test_many_files(tmp_path):
    for number in range(100):
        save(tmp_path / "model=x", f"{number:03d}.parquet", {2 * number: "ok", 2 * number + 1: "unavailable"})
    found = labelled(locate(str(tmp_path / "model=x")))
    assert found.done.tolist() == list(range(0, 200, 2))
    assert found.unavailable.tolist() == list(range(1, 200, 2))


def test_labelled_on_s3(bucket, labels, tmp_path):
    files = {f"out/{name}.parquet": (tmp_path / "model=x" / f"{name}.parquet").read_bytes() for name in ("one", "two")}
    found = labelled(locate(f"{bucket(files)}/out"))
    assert (found.done.tolist(), found.unavailable.tolist()) == ([2, 3], [1, 5])


def test_nothing_labelled(tmp_path):
    found = labelled(locate(str(tmp_path / "gone")))
    assert len(found.done) == len(found.unavailable) == 0


def test_without():
    tables = [pa.table({"id": [1, 2, 3]}), pa.table({"id": [4, 5]})]
    left = [table["id"].to_pylist() for table in without(tables, ids(2, 5))]
    assert left == [[1, 3], [4]]


@pytest.mark.parametrize(("limit", "expected"), [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (9, [1, 3, 4])])
def test_limit(limit, expected):
    tables = [pa.table({"id": [1, 2, 3]}), pa.table({"id": [4, 5]})]
    left = pa.concat_tables(without(tables, ids(2, 5), limit))["id"].to_pylist()
    assert left == expected


def test_forget_drops_rows_and_empty_files(labels, tmp_path):
    forget(labels, ids(1, 5, 9))
    assert [path.name for path in sorted((tmp_path / "model=x").glob("*.parquet"))] == ["one.parquet"]
    left = pq.read_table(tmp_path / "model=x" / "one.parquet", partitioning=None)
    assert left["id"].to_pylist() == [3, 2]
    assert left.schema.equals(schema.LABELS)
    assert left.schema.metadata == schema.LABELS.metadata


def test_forget_leaves_other_files_alone(labels, tmp_path):
    before = (tmp_path / "model=x" / "one.parquet").stat().st_mtime_ns
    forget(labels, ids(5))
    assert (tmp_path / "model=x" / "one.parquet").stat().st_mtime_ns == before


def test_who_is_listed_in_another_version_is_not_waited_for(labels, tmp_path):
    manifest = tmp_path / "manifest"
    manifest.mkdir()
    for number, uris in enumerate([["/9", "/8"], ["/1", "/2"]]):
        rows = [{"id": 70 + number + place, "uri": uri} for place, uri in enumerate(uris)]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema.MANIFEST), manifest / f"{number}.parquet")
    assert outdated(labels, ids(1, 5), locate(str(manifest))).tolist() == [1]
    assert outdated(labels, ids(), locate(str(manifest))).tolist() == []
    assert outdated(labels, ids(1, 5), locate(str(tmp_path / "gone"))).tolist() == []
