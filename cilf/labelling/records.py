"""The records that runs leave in OUTPUT/runs: what each took, and whether it ended well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ValidationError

from cilf.errors import INTERRUPTED
from cilf.storage import Location, files, read

_THREADS = 16


_FEWEST = 1000
"""Rows of a run that has a pace: in a smaller one the first block, which counts for the start, is too much of it."""


def _in_words(error: Any) -> Any:
    """Records of former versions name the exception, and nothing behind it."""
    if isinstance(error, str):
        return INTERRUPTED if error.startswith(KeyboardInterrupt.__name__) else error.removesuffix(": ")
    return error


class Record(BaseModel):
    """What later runs and the page use of a run's record; see cilf.labelling.summary."""

    run: str
    model: str
    model_name: str = ""
    options: dict[str, Any] = {}
    """The options of `cilf label`, by name."""
    input: str | None = None
    """The place that INPUT names, in one spelling; None in records of former versions."""
    objects: int = 0
    """To label."""
    counts: dict[str, int] = {}
    """Labelled, by status."""
    seconds: float = 0.0
    seconds_to_first_row: float = 0.0
    """The start: Ray, the model and the first block."""
    stage_seconds: dict[str, float] = {}
    error: Annotated[str | None, BeforeValidator(_in_words)] = None
    """Why the run ended early; INTERRUPTED where somebody stopped it."""

    @property
    def labelled(self) -> int:
        """Objects that got their rows."""
        return sum(self.counts.values())

    @property
    def pace(self) -> float | None:
        """Images per second of steady work, behind the start; None where too little tells of it."""
        steady = self.seconds - self.seconds_to_first_row
        return self.labelled / steady if self.labelled >= _FEWEST and steady > 0 else None

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
