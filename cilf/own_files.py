"""Checks that a command only replaces files that it has written itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.errors import UsageError
from cilf.storage import Location, read


def check_results(output: Location, names: Sequence[str], *keys: str) -> None:
    """Make sure that results only replace earlier results of the same command.

    Args:
        names: the files; the first is the record of the others, a JSON object with `keys`.

    Raises:
        UsageError: files with these names exist, and something else has written them.
    """
    there = [name for name in names if (output / name).fs.exists((output / name).path)]
    if there and not is_record(output / names[0], *keys):
        raise UsageError(f"OUTPUT {output.url} has {', '.join(there)} from something else: choose another folder")


def is_record(file: Location, *keys: str) -> bool:
    """True if a file is a JSON object with these keys."""
    try:
        record = json.loads(read(file) or b"null")
    except (ValueError, OSError):
        return False
    return isinstance(record, dict) and set(keys) <= record.keys()


def columns_of(file: Location) -> list[str]:
    """The names of the columns of a Parquet file; empty if the file is missing or not Parquet."""
    try:
        with file.fs.open(file.path, "rb") as opened:
            return list(pq.read_schema(opened).names)
    except (OSError, pa.ArrowException):
        return []
