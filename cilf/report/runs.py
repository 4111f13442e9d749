"""The records that runs leave in OUTPUT/runs: what each took, and whether it ended well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ValidationError

from cilf.storage import Location, files, read

_THREADS = 16


class Record(BaseModel):
    """Of a run's record, what the page tells; see cilf.labelling.summary."""

    run: str
    model: str
    model_name: str = ""
    options: dict[str, Any] = {}
    """Of `cilf label`, by name."""
    objects: int = 0
    """To label."""
    counts: dict[str, int] = {}
    """Labelled, by status."""
    seconds: float = 0.0
    images_per_second: float = 0.0
    stage_seconds: dict[str, float] = {}
    error: str | None = None
    """Why the run ended early."""

    @property
    def labelled(self) -> int:
        """Objects that got their rows."""
        return sum(self.counts.values())

    @property
    def whole(self) -> bool:
        """Whether it ended well and left out nothing of what it was given."""
        limit = self.options.get("limit")
        return self.error is None and (limit is None or self.labelled < limit)


def read_records(output: Location, at_most: int) -> tuple[dict[str, Record], list[str]]:
    """The newest records by run id, oldest first, and the names of files that are none."""
    found = files(output / "runs", ".json")[-at_most:]  # run ids sort by time
    with ThreadPoolExecutor(_THREADS) as threads:
        texts = list(threads.map(read, found))
    records: dict[str, Record] = {}
    unreadable = []
    for file, text in zip(found, texts, strict=True):
        try:
            record = Record.model_validate_json(text or b"")
            records[record.run] = record
        except ValidationError:
            unreadable.append(file.path.rpartition("/")[2])
    return records, unreadable
