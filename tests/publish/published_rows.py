"""Photographs as the model labels them, and rows that can be compared across readers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq

from cilf.storage import files, folders, locate

MODEL = "0123456789ab"


def photograph(number: int, status: str = "ok", **own: Any) -> dict[str, Any]:
    """A row before the sink, with two faces if its status is ok."""
    box = {"left": 1.5, "top": 2.0, "right": 30.0, "bottom": 40.0, "detection": 0.9}
    judged = {"age": number / 3, "age_low": 1.0, "age_high": 90.0, "first_age": 20.0, "expected_error": 4.0}
    face = {**box, **judged, "corrections": 1, "accepted": number % 2 == 0}
    faces = [face, {**face, "age": None}] if status == "ok" else []
    size = {"bytes": 2**40 + number, "width": 400, "height": 300, "face_count": len(faces), "faces": faces}
    reason = None if status == "ok" else f"{status}, says the store"
    named = {"id": number * (-1) ** number * 2**40, "uri": f"/photographs/{number}.jpg", "etag": None}
    return {**named, "status": status, "reason": reason, **size, "fetch_s": 0, "decode_s": 0, "model_s": 0, **own}


def labels_in(output: str) -> list[dict[str, Any]]:
    """All label rows below OUTPUT with their model, whatever columns their files have."""
    found: list[dict[str, Any]] = []
    for model in folders(locate(output) / "labels"):
        for file in files(model, ".parquet"):
            with file.fs.open(file.path, "rb") as opened:
                rows = pq.ParquetFile(opened).read().to_pylist()
            found += [{**row, "model": model.path.rpartition("=")[2]} for row in rows]
    return comparable(found)


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in a canonical order, without empty columns, and with times in UTC."""
    rows = [
        {
            name: value.astimezone(UTC) if isinstance(value, datetime) else value
            for name, value in row.items()
            if value is not None
        }
        for row in rows
    ]
    return sorted(rows, key=lambda row: (row["id"], row["model"]))
