"""The records that runs leave in OUTPUT/runs: the time that each took, and whether it succeeded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ValidationError

from cilf.errors import INTERRUPTED
from cilf.storage import Location, files, read

_THREADS = 16


_FEWEST = 1000
"""Fewest rows of a run that has a pace: in a smaller one, the first block, which counts as start, is too large a
part."""


def _in_words(error: Any) -> Any:
    """Adapt the error of a record of an earlier version, which names the exception with nothing after it."""
    if isinstance(error, str):
        return INTERRUPTED if error.startswith(KeyboardInterrupt.__name__) else error.removesuffix(": ")
    return error


class Record(BaseModel):
    """The part of a run's record that later runs and the report page use; see cilf.labelling.summary."""

    run: str
    model: str
    model_name: str = ""
    options: dict[str, Any] = {}
    """The options of `cilf label`, by name."""
    input: str | None = None
    """The normalised URL of INPUT; None in records of earlier versions."""
    objects: int = 0
    """Number of objects to label."""
    counts: dict[str, int] = {}
    """Labelled objects by status."""
    seconds: float = 0.0
    seconds_to_first_row: float = 0.0
    """Seconds for the start: Ray, the model and the first block."""
    stage_seconds: dict[str, float] = {}
    error: Annotated[str | None, BeforeValidator(_in_words)] = None
    """Why the run ended early; INTERRUPTED if a user stopped it."""

    @property
    def labelled(self) -> int:
        """Number of objects that got a label row."""
        return sum(self.counts.values())

    @property
    def pace(self) -> float | None:
        """Images per second of steady work, after the start; None if the run is too small to measure it."""
        steady = self.seconds - self.seconds_to_first_row
        return self.labelled / steady if self.labelled >= _FEWEST and steady > 0 else None

    @property
    def whole(self) -> bool:
        """Whether the run succeeded and left out none of the objects it was given."""
        limit = self.options.get("limit")
        return self.error is None and (limit is None or self.labelled < limit)


def read_records(output: Location, at_most: int) -> tuple[dict[str, Record], list[str]]:
    """The newest records by run id, oldest first, and the names of files that are not valid records."""
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
