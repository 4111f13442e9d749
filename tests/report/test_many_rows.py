"""Ten million rows: the page takes half a minute and little memory.

pytest tests/report/test_many_rows.py -m long
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import schema

RUNS, FILES, ROWS = 10, 20, 50_000
"""Runs, files of each, and rows of each file."""


def table(run: str, number: int) -> pa.Table:
    """Rows of one label file: one in ten without a face, one or two faces in the others."""
    draw = np.random.default_rng(number)
    faces_N = draw.choice([0, 1, 2], ROWS, p=[0.1, 0.7, 0.2])
    total = int(faces_N.sum())
    age = np.clip(draw.normal(38, 16, total), 1, 95).astype(np.float32)
    columns = {
        "age": age,
        "first_age": age,
        "age_low": age - 9,
        "age_high": age + 9,
        "expected_error": draw.gamma(4, 1.2, total).astype(np.float32),
        "corrections": draw.choice([0, 1, 2], total, p=[0.9, 0.07, 0.03]).astype(np.int32),
        "accepted": draw.random(total) < 0.95,
    }
    for name in schema.BOX.names:
        columns[name] = draw.random(total).astype(np.float32)
    flat = pa.StructArray.from_arrays(
        [pa.array(columns[field.name], field.type) for field in schema.FACE], fields=list(schema.FACE)
    )
    ids = np.arange(number * ROWS, (number + 1) * ROWS)
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number // FILES)
    offsets = pa.array(np.concatenate([[0], faces_N.cumsum()]), pa.int32())
    values = {
        "id": ids,
        "uri": [f"s3://bucket/photographs/{n:09}.jpg" for n in ids],
        "etag": [f"{n:032x}" for n in ids],
        "bytes": draw.integers(10_000, 4_000_000, ROWS),
        "status": pa.array(np.where(faces_N > 0, "ok", "no_face")).dictionary_encode(),
        "reason": pa.array(["no face found"] * ROWS, mask=faces_N > 0),
        "width": [4032] * ROWS,
        "height": [3024] * ROWS,
        "face_count": faces_N,
        "faces": pa.ListArray.from_arrays(offsets, flat),
        "run": [run] * ROWS,
        "labelled_at": pa.repeat(pa.scalar(when, pa.timestamp("us", "UTC")), ROWS),
    }
    return schema.conform(pa.table(values), schema.LABELS)


@pytest.mark.long
def test_ten_million_rows(tmp_path: Path, capsys):
    labels = tmp_path / "labels" / "model=0123456789ab"
    labels.mkdir(parents=True)
    for number in range(RUNS * FILES):
        run = f"202601{number // FILES + 1:02}T000000Z-{number // FILES:06x}"
        pq.write_table(table(run, number), labels / f"{run}-{number:04}.parquet", compression="zstd")
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cilf.cli", "report", str(tmp_path)], capture_output=True, text=True)
    seconds = time.monotonic() - begun
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert done.returncode == 0, done.stderr
    assert "10,000,000 objects" in done.stdout
    with capsys.disabled():
        print(f"\n10,000,000 rows: {seconds:.1f} s, {peak / 1e9:.2f} GB")
    assert peak < 4e9
