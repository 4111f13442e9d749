"""Every file of a corpus, whatever it is, gets one row with its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_files import MAX_PIXELS, expected_status, hostile_files

from cilf import schema
from cilf.card import Images
from cilf.labelling.fetch_stage import Sight, fetch_decode

SIZE = 32
SIGHT = Sight(Images(size=SIZE), faces="none", thumbnails=False, max_bytes=10**9, max_pixels=MAX_PIXELS)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest undoes own_process.py's filter of PIL's


def manifest(uris: list[str], sizes: list[int | None]) -> pa.Table:
    count = len(uris)
    columns = {"id": range(count), "uri": uris, "etag": [None] * count, "bytes": sizes, "modified": [None] * count}
    return pa.table({name: pa.array(columns[name], schema.MANIFEST.field(name).type) for name in columns})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name, data in hostile_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_there_are_enough():
    assert len(hostile_files()) >= 300
    statuses = [expected_status(name) for name in hostile_files()]
    assert set(statuses) == {"ok", "no_face", "unreadable", "too_large"}
    assert min(map(statuses.count, set(statuses))) >= 15


def check(rows: list[dict], names: list[str]) -> None:
    assert len(rows) == len(names)
    wrong = {
        name: (row["status"], row["reason"])
        for name, row in zip(names, rows, strict=True)
        if row["status"] != expected_status(name)
    }
    assert not wrong
    for row in rows:
        good = row["status"] == "ok"
        assert len(row["crops"]) == (3 * SIZE**2 if good else 0)
        assert (row["width"] is not None) == (row["status"] in ("ok", "no_face"))
        if not good:
            assert row["reason"].strip()
            assert row["reason"].isprintable(), "one line"
            assert len(row["reason"]) < 200


def test_each_on_a_disk_gets_its_row(folder, capfd):
    names = list(hostile_files())
    table = manifest([f"{folder}/{name}" for name in names], [None] * len(names))
    check(fetch_decode(table, SIGHT).to_pylist(), names)
    # With a hundred million files, a line for each damaged one would hide everything else.
    assert capfd.readouterr().err == ""


def test_each_in_a_bucket_gets_its_row(bucket: Callable[[dict[str, bytes]], str]):
    names = list(hostile_files())
    url = bucket(hostile_files())
    sizes: list[int | None] = [len(data) for data in hostile_files().values()]
    table = manifest([f"{url}/{name}" for name in names], sizes)
    check(fetch_decode(table, SIGHT).to_pylist(), names)


def test_each_gets_its_row_from_a_whole_run_in_little_memory(start, folder, tmp_path):
    run = start(folder, tmp_path / "out", "--max-pixels", str(MAX_PIXELS))
    most = 0
    while run.process.poll() is None:
        most = max(most, *(held for kind, held in run.own_bytes().items() if "fetch" in kind), 0)
        time.sleep(0.1)
    report = run.end()
    assert run.process.returncode == 0, report
    rows = pa.concat_tables(pq.read_table(file, partitioning=None) for file in run.files())
    start_of_name = len(f"{folder}/")
    found = {row["uri"][start_of_name:]: row["status"] for row in rows.select(["uri", "status"]).to_pylist()}
    assert found == {name: expected_status(name) for name in hostile_files()}
    assert len(rows) == len(found)
    assert 0 < most < 10**9


ODD = (
    *("orientation", "thumbnail", " x ", "clear", "alpha", "trans", "damaged", "ends early", "markers lost", "page"),
    *("quality 1", "1 bit", "2 bit", "4 bit", "fax", "float", "2 GB", "chunks", "upside", "ico/", ".ppm"),
)
"""Parts of the names of good files that show another picture."""


def test_what_is_good_looks_like_what_it_shows(folder):
    """The picture is smooth, and darker to the right and to the bottom, in whatever way it is stored."""
    good = [name for name in hostile_files() if expected_status(name) == "ok"]
    names = [name for name in good if not any(word in name for word in ODD)]
    assert len(names) > 60
    table = manifest([f"{folder}/{name}" for name in names], [None] * len(names))
    for name, row in zip(names, fetch_decode(table, SIGHT).to_pylist(), strict=True):
        grey = np.frombuffer(row["crops"], np.uint8).reshape(SIZE, SIZE, 3).mean(axis=2)
        assert grey[:4, :4].mean() > 150, name
        assert grey[-4:, -4:].mean() < 100, name
        assert np.abs(np.diff(grey, axis=1)).mean() < 12, name


def test_orientations_are_upright(folder):
    """The bright corner of the file ends up where its EXIF orientation puts it."""
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    for value in range(10):
        name = f"ok/jpeg/exif orientation {value}.jpg"
        (row,) = fetch_decode(manifest([f"{folder}/{name}"], [None]), SIGHT).to_pylist()
        grey = np.frombuffer(row["crops"], np.uint8).reshape(SIZE, SIZE, 3).mean(axis=2)
        bright = [grey[a : a + 16, b : b + 16].mean() for a in (0, 16) for b in (0, 16)]
        assert divmod(int(np.argmax(bright)), 2) == corner.get(value, (0, 0)), name
        assert (row["width"] > row["height"]) == (value not in (5, 6, 7, 8))
