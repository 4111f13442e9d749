"""Manifests that are partitioned as by Hive, Spark and pyarrow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from cilf.errors import UsageError
from cilf.manifest.listing import check_input, objects
from cilf.storage import locate


def fill(folder, files: dict[str, dict]):
    """Write Parquet files, given as columns by path."""
    for path, columns in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), folder / path)
    return folder


def read(folder) -> pa.Table:
    return pa.concat_tables(objects(locate(str(folder))))


def test_folders_are_columns(tmp_path):
    folder = fill(
        tmp_path / "night=1" / "m.parquet",
        {
            "camera=X%2FY z/day=2024-05-01/a.parquet": {"uri": ["/a"]},
            "camera=0042/day=__HIVE_DEFAULT_PARTITION__/b.parquet": {"uri": ["/b"]},
            "camera=a=b/day=2/_SUCCESS.parquet": {"uri": ["/no"]},
        },
    )
    table = read(folder)
    assert table.schema.names[5:] == ["camera", "day"]
    assert table.select(["uri", "camera", "day"]).to_pylist() == [
        {"uri": "/b", "camera": "0042", "day": None},
        {"uri": "/a", "camera": "X/Y z", "day": "2024-05-01"},
    ]


def test_as_pyarrow_writes_them(tmp_path):
    table = pa.table({"uri": ["/a", "/b", "/c"], "shelf": [1, 2, None], "note": ["x", "y", "z"]})
    pads.write_dataset(
        table, tmp_path / "m.parquet", format="parquet", partitioning=["shelf"], partitioning_flavor="hive"
    )
    assert sorted(
        read(tmp_path / "m.parquet").select(["uri", "note", "shelf"]).to_pylist(), key=lambda row: row["uri"]
    ) == [
        {"uri": "/a", "note": "x", "shelf": "1"},
        {"uri": "/b", "note": "y", "shelf": "2"},
        {"uri": "/c", "note": "z", "shelf": None},
    ]


def test_a_column_of_the_file_counts(tmp_path):
    folder = fill(tmp_path / "m.parquet", {"shelf=7/a.parquet": {"uri": ["/a"], "shelf": pa.array([7], pa.int8())}})
    assert read(folder).schema.field("shelf").type == pa.int8()


def test_a_partition_by_a_column_of_ours(tmp_path):
    folder = fill(tmp_path / "m.parquet", {"etag=7/a.parquet": {"uri": ["/a"]}})
    assert read(folder).select(["uri", "etag"]).to_pylist() == [{"uri": "/a", "etag": "7"}]


def test_hidden_folders_and_hidden_partitions(tmp_path):
    folder = fill(
        tmp_path / "m.parquet", {"_camera=X/a.parquet": {"uri": ["/a"]}, "_temporary/b.parquet": {"uri": ["/b"]}}
    )
    assert read(folder).select(["uri", "_camera"]).to_pylist() == [{"uri": "/a", "_camera": "X"}]


def test_links_to_folders_are_followed_once(tmp_path):
    folder = fill(tmp_path / "m.parquet", {"camera=C/p.parquet": {"uri": ["/c"]}})
    fill(
        tmp_path / "elsewhere",
        {"camera=B/deep/p.parquet": {"uri": ["/b"]}, "camera=B/_old/p.parquet": {"uri": ["/no"]}},
    )
    (folder / "camera=B").symlink_to(tmp_path / "elsewhere" / "camera=B")
    (folder / "camera=E").symlink_to("camera=B")
    (folder / "camera=A").symlink_to("camera=C")
    (folder / "camera=C" / "up").symlink_to(folder)
    assert read(folder).select(["uri", "camera"]).to_pylist() == [
        {"uri": "/b", "camera": "B"},
        {"uri": "/c", "camera": "C"},
    ]
    (tmp_path / "n.parquet").symlink_to(folder)
    assert len(read(tmp_path / "n.parquet")) == 2


def test_in_a_store(tmp_path, bucket):
    fill(tmp_path, {"a.parquet": {"uri": ["a.jpg"]}})
    url = bucket({"lists/m.parquet/camera=X%20Y/a.parquet": (tmp_path / "a.parquet").read_bytes()})
    assert read(f"{url}/lists/m.parquet").select(["uri", "camera"]).to_pylist() == [
        {"uri": f"{url}/lists/a.jpg", "camera": "X Y"}
    ]


@pytest.mark.parametrize(
    ("paths", "columns", "message"),
    [
        (["model=x/a.parquet"], {}, "columns that the labels have too: model"),
        (["Model=x/a.parquet"], {}, "columns that the labels have too: Model"),
        (["camera=x/a.parquet"], {"Camera": ["y"]}, "the columns `Camera` and `camera`"),
        (["camera=x/camera=y/a.parquet"], {}, "two columns `camera`"),
        (["camera=x/a.parquet", "b.parquet"], {}, r"differ: only one of them has the columns camera"),
        (["camera=x/a.parquet", "Camera=y/b.parquet"], {}, r"differ: .* Camera, camera"),
    ],
)
def test_what_is_refused(tmp_path, paths, columns, message):
    folder = fill(tmp_path / "m.parquet", {path: {"uri": ["/a"], **columns} for path in paths})
    with pytest.raises(UsageError, match=message):
        check_input(locate(str(folder)))
