"""OUTPUT/runs/<run id>.json: what ran, on which machines, and with what result."""

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


@dataclass(frozen=True)
class LabelSummary:
    """What a call of `cilf.label` did; its text is what `cilf label` prints."""

    run: str
    """Run id. The run's record is OUTPUT/runs/<run>.json; a dry run leaves none."""
    model: str
    """Fingerprint of the model and its settings."""
    model_name: str
    labels: str
    """Folder of the label files of this model."""
    objects: int
    """Number of objects to label in this run; of a dry run, in its sample."""
    counts: Mapping[str, int]
    """Labelled objects by status."""
    bytes: int
    """Stored size of these objects."""
    seconds: float
    """Seconds from the start to the end of the run."""
    images_per_second: float | None
    """Steady rate, from the first rows to the last; None if the run is too short to measure it."""
    warnings: tuple[str, ...]
    """Warnings that were shown during the run."""
    text: str
    """What `cilf label` prints at the end: the totals, or the forecast of a dry run."""

    def __str__(self) -> str:
        return self.text


@dataclass
class Summary:
    """The summary of one run, written once, when the run succeeds or fails."""

    run: str
    options: LabelOptions
    labels: str
    """Folder of the label files; its name holds the model's fingerprint."""
    model_name: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    objects: int = 0
    """Number of objects to label in this run."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows written, by status."""
    bytes: int = 0
    """Stored size of these objects."""
    seconds: float = 0.0
    """Seconds from the start to the end of the run."""
    seconds_to_first_row: float = 0.0
    pace: float | None = None
    """Objects per second from the first rows to the last; None if the run is too short to measure it."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Process seconds by stage: fetch (most of it is waiting), decode and model."""
    batch_size: int = 0
    """Crops per model call."""
    cluster: Cluster | None = None
    """The cluster at the start of the run; None if the run ended before Ray started."""
    warnings: list[str] = field(default_factory=list)
    """Warnings given to the user."""
    remark: str | None = None
    """Why there was nothing to label, if not because everything is labelled already."""
    error: str | None = None
    """Why the run ended early."""
    traceback: str | None = None
    """The traceback of that error."""

    def take(self, progress: Progress) -> None:
        """Copy the figures of a run that has ended."""
        self.objects, self.counts, self.bytes = progress.total, progress.counts, progress.bytes
        self.seconds, self.seconds_to_first_row = progress.seconds, progress.seconds_to_first
        self.stage_seconds, self.batch_size = progress.stage_seconds, progress.batch_size
        self.pace, self.warnings = progress.pace, progress.warnings

    def record(self) -> dict[str, Any]:
        """The summary as it is written: JSON types only."""
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

    def outcome(self, text: str) -> LabelSummary:
        """The summary as callers from Python get it, with the text for the user."""
        return LabelSummary(
            run=self.run,
            model=self.labels.rpartition("=")[2],
            model_name=self.model_name,
            labels=self.labels,
            objects=self.objects,
            counts=dict(sorted(self.counts.items())),
            bytes=self.bytes,
            seconds=self.seconds,
            images_per_second=self.pace,
            warnings=tuple(self.warnings),
            text=text,
        )

    def closing(self) -> str:
        """The line that the user gets at the end."""
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
        """Write the summary below `output`."""
        text = json.dumps(self.record(), indent=2, ensure_ascii=False) + "\n"
        write(output / "runs" / f"{self.run}.json", text.encode())
