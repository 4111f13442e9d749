"""OUTPUT/runs/<run id>.json: what ran, on what, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.labelling.progress import Progress
from cilf.provenance import versions
from cilf.storage import Location, locate, write
from cilf.words import counted


@dataclass
class Summary:
    """One run; written once, when it ends, well or badly."""

    run: str
    options: LabelOptions
    labels: str
    """Folder the rows are in; its name holds the model's fingerprint."""
    model_name: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    objects: int = 0
    """To label in this run."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows written, by status."""
    bytes: int = 0
    """Of these objects as stored."""
    seconds: float = 0.0
    """From the first look at the plan to the last row."""
    seconds_to_first_row: float = 0.0
    pace: float | None = None
    """Objects per second from the first rows to the last; None of a run too short to tell."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Process seconds by stage: fetch (most of it is waiting), decode and model."""
    batch_size: int = 0
    """Crops that went through the model at once."""
    cluster: Cluster | None = None
    """What it ran on, as it was at the start; None if it did not come to that."""
    warnings: list[str] = field(default_factory=list)
    """What the user was told to beware of."""
    remark: str | None = None
    """Why nothing was to label, where that is not because all of it is labelled."""
    error: str | None = None
    """Why the run ended early."""
    traceback: str | None = None
    """Where it did."""

    def take(self, progress: Progress) -> None:
        """The figures of a run that has ended."""
        self.objects, self.counts, self.bytes = progress.total, progress.counts, progress.bytes
        self.seconds, self.seconds_to_first_row = progress.seconds, progress.seconds_to_first
        self.stage_seconds, self.batch_size = progress.stage_seconds, progress.batch_size
        self.pace, self.warnings = progress.pace, progress.warnings

    def record(self) -> dict[str, Any]:
        """As it is written, JSON types only."""
        done = sum(self.counts.values())
        return {
            "run": self.run,
            "started": self.started.isoformat(timespec="seconds"),
            "options": asdict(self.options),
            "input": locate(self.options.input).url,
            "model": self.labels.rpartition("=")[2],
            "model_name": self.model_name,
            "versions": versions(),
            "cluster": asdict(self.cluster) if self.cluster else None,
            "objects": self.objects,
            "counts": dict(sorted(self.counts.items())),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 2),
            "seconds_to_first_row": round(self.seconds_to_first_row, 2),
            "stage_seconds": {stage: round(seconds, 2) for stage, seconds in self.stage_seconds.items()},
            "batch_size": self.batch_size,
            "images_per_second": round(done / self.seconds, 2) if self.seconds else 0.0,
            "steady_images_per_second": round(self.pace, 2) if self.pace else None,
            "warnings": self.warnings,
            "error": self.error,
            "traceback": self.traceback,
        }

    def closing(self) -> str:
        """What the user is told at the end."""
        done = sum(self.counts.values())
        if not done:
            return f"{self.remark or 'nothing new to label'}; labels are in {self.labels}"
        statuses = ", ".join(f"{number:,} {status}" for status, number in sorted(self.counts.items()))
        steady = f", then {self.pace:,.1f} images/s in batches of {self.batch_size}" if self.pace else ""
        return (
            f"labelled {counted(done, 'object')} in {self.seconds:.1f} s: {self.seconds_to_first_row:.0f} s to start"
            f"{steady} ({statuses}); labels are in {self.labels}"
        )

    def save(self, output: Location) -> None:
        """Write it below `output`."""
        text = json.dumps(self.record(), indent=2, ensure_ascii=False) + "\n"
        write(output / "runs" / f"{self.run}.json", text.encode())
