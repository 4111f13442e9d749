"""Millions of keys: memory that does not grow with them, rows from the first minute on, and a constant cost per key.
Runs over a corpus that is mostly labelled: only new and changed objects are read.

pytest tests/hostile/test_scale.py -m long
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_run import DRIVER, statuses

KEYS = (500_000, 5_000_000)
_AT_ONCE = 500_000


def _manifest(path: Path, keys: int) -> Path:
    with pq.ParquetWriter(path, pa.schema([("uri", pa.string()), ("etag", pa.string()), ("bytes", pa.int64())])) as out:
        for start in range(0, keys, _AT_ONCE):
            numbers = range(start, start + _AT_ONCE)
            uris = [f"/nowhere/{number // 1000:05d}/{number:08d}.jpg" for number in numbers]
            etags = [f"{number:032x}" for number in numbers]
            out.write_table(pa.table({"uri": uris, "etag": etags, "bytes": [50_000] * _AT_ONCE}, out.schema))
    return path


@pytest.mark.long
def test_millions_of_keys(start, tmp_path, capsys):
    each, said = [], []
    for keys in KEYS:
        manifest, output = _manifest(tmp_path / f"{keys}.parquet", keys), tmp_path / f"out-{keys}"
        peaks: dict[str, int] = {}
        begun, first = time.monotonic(), None
        run = start(manifest, output)
        while run.process.poll() is None:
            if first is None and run.files():
                first = time.monotonic() - begun
            for kind, held in run.own_bytes().items():
                peaks[kind] = max(peaks.get(kind, 0), held)
            time.sleep(0.5)
        seconds = time.monotonic() - begun
        report = run.end()
        assert run.process.returncode == 0, report
        assert sum(pq.read_metadata(file).num_rows for file in run.files()) == keys
        each.append(seconds / keys)
        worst = max(peaks, key=lambda kind: peaks[kind])
        said.append(
            f"{keys:,} keys: {seconds:.0f} s, first rows after {first:.0f} s, driver {peaks[DRIVER] / 1e9:.2f} GB, "
            f"at most {peaks[worst] / 1e9:.2f} GB ({worst})"
        )
        assert first is not None
        assert first < 60, said
        assert max(peaks.values()) < 2e9, said
    with capsys.disabled():
        print("", *said, f"a key costs {each[1] / each[0]:.2f} x", sep="\n")
    assert each[1] < 1.2 * each[0], said


@pytest.mark.long
def test_only_what_is_new_or_changed_is_read(start, corpus, photograph, tmp_path, capsys):
    photos, output = corpus(10_000), tmp_path / "out"
    run = start(photos, output)
    assert "10,000" in run.end()
    begun = time.monotonic()
    run = start(photos, output)
    assert "nothing new" in run.end()
    seconds = time.monotonic() - begun
    with capsys.disabled():
        print(f"\nnothing new among 10,000: {seconds:.1f} s")
    assert seconds < 30
    for number in range(10):
        (photos / f"{number:05d}.jpg").write_bytes(photograph(2) + bytes(number))
    for number in range(100):
        (photos / f"new-{number:05d}.jpg").write_bytes(photograph(3))
    run = start(photos, output)
    report = run.end()
    assert run.process.returncode == 0, report
    newest = max((output / "runs").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    assert json.loads(newest.read_text())["counts"] == {"ok": 110}, newest.read_text()
    assert sum(map(len, statuses(output).values())) == 10_110
