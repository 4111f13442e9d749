"""Made-up labels as runs write them, with any ages, in any OUTPUT."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_labels import MODEL, face, photograph

from cilf import schema
from cilf.labelling.sink import labelled_rows
from cilf.storage import locate, write


@pytest.fixture(scope="session")
def write_run() -> Callable[..., None]:
    """Write a run's labels below OUTPUT as the sink does, and its record."""

    def run(
        output: str,
        name: str,
        rows: list[dict[str, Any]],
        *own: pa.Field,
        model: str = MODEL,
        **record: Any,
    ) -> None:
        table = labelled_rows(pa.Table.from_pylist(rows, schema.extend(schema.JUDGED, list(own))), name)
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        root = locate(output)
        write(root / "labels" / f"model={model}" / f"{name}-0.parquet", buffer.getvalue())
        counts = {status: sum(row["status"] == status for row in rows) for status in {r["status"] for r in rows}}
        told = {
            "run": name,
            "model": model,
            "model_name": "made-up",
            "counts": counts,
            "seconds": 36.0,
            "seconds_to_first_row": 16.0,
            "images_per_second": len(rows) / 36,
            "stage_seconds": {"fetch": 10.0, "decode": 20.0, "model": 30.0},
            "error": None,
            **record,
        }
        write(root / "runs" / f"{name}.json", json.dumps(told).encode())

    return run


@pytest.fixture(scope="session")
def week(write_run: Callable[..., None]) -> Callable[..., int]:
    """Write eight nights of 400 photographs each, the last with its own mean age; return the number of rows."""

    def write_week(output: str, last_mean: float = 40.0) -> int:
        random = np.random.default_rng(0)
        for night in range(8):
            ages = np.clip(random.normal(last_mean if night == 7 else 40.0, 12, 400), 0, 100)
            rows = [photograph(1000 * night + n, [face(float(age))]) for n, age in enumerate(ages)]
            write_run(output, f"202611{night + 1:02d}T010000Z-aaaaaa", rows)
        return 8 * 400

    return write_week
