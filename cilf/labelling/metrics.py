"""Metrics of labelling for Prometheus, through Ray's own exporter: counters that only increase."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.util.metrics import Counter


def publish(row: Mapping[str, Any]) -> None:
    """Add a row of schema.COUNTS to the counters. Only the driver does this, so that a retried task counts once."""
    objects, size, seconds = _counters()
    objects.inc(row["objects"], {"status": row["status"]})
    if row["bytes"]:
        size.inc(row["bytes"])
    for name in ("fetch", "decode", "model"):
        if row[f"{name}_s"]:
            seconds.inc(row[f"{name}_s"], {"stage": name})


@cache
def _counters() -> tuple[Counter, Counter, Counter]:
    from ray.util.metrics import Counter

    return (
        Counter("cilf_objects", "Objects that have a label row.", ("status",)),
        Counter("cilf_bytes", "Bytes of those objects, as stored."),
        Counter("cilf_stage_seconds", "Process seconds spent on those objects.", ("stage",)),
    )
