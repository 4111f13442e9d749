"""Readers for lists of labelled photographs: CSV and JSON lines, with a column `uri` or `path`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from cilf.datasets.columns import TRUE_AGE, check_no_review, misnamed
from cilf.errors import UsageError
from cilf.storage import Location, problem
from cilf.training.raw import LABELS, PEOPLE, PLACES, Row

_AS_FLOAT = re.compile(r"-?\d+\.0")


def csv_columns(file: Location) -> list[str]:
    """The names in the first line.

    Raises:
        UsageError: the file cannot be read.
    """
    with _lines(file) as lines:
        return _header(csv.reader(lines, strict=True))


def csv_rows(file: Location) -> Iterator[Row]:
    """The rows of a CSV file as text, with the known columns only; empty cells are None.

    Raises:
        UsageError: the file cannot be read, or some line, which the message names, is not CSV.
    """
    floats = {name for name in ("id", "subject") if _are_floats(file, name)}
    for row in _csv(file):
        yield {name: _whole(cell) if name in floats else cell for name, cell in row.items()}


def _are_floats(file: Location, name: str) -> bool:
    """True for a column of whole numbers that pandas has written as floats, as it does if values are missing."""
    values = [row.get(name) for row in _csv(file)]
    given = [value for value in values if value is not None]
    return None in values and bool(given) and all(_AS_FLOAT.fullmatch(value) for value in given)


def _whole(cell: str | None) -> str | None:
    return cell and cell.removesuffix(".0")


def _csv(file: Location) -> Iterator[dict[str, str | None]]:
    with _lines(file) as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = _header(reader)
            known = [(place, name) for place, name in enumerate(header) if name in (*LABELS, *PEOPLE, *PLACES)]
            for cells in reader:
                if len(cells) not in (0, len(header)):
                    raise csv.Error(f"{len(cells)} columns, but the first line has {len(header)}")
                if cells:
                    yield {name: cells[place].strip() or None for place, name in known}
        except csv.Error as error:
            where = f"line {reader.line_num}, or in a quoted cell that starts before it"
            raise UsageError(f"{file.url} is not CSV in {where}: {error}") from error


def _header(lines: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(lines, [])]


def json_rows(file: Location) -> Iterator[Row]:
    """The rows of a JSON lines file. A line that is not a JSON object gives a row with `wrong`.

    Raises:
        UsageError: the file cannot be read, or it is a review file.
    """
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                row = json_labels(line, f"{file.url}, line {number}")
                check_no_review(row, file.url)
                yield row


def json_labels(text: str | bytes, name: str) -> dict[str, Any]:
    """The labels in a JSON object; anything else, or an object with a duplicate label, gets the id `name`, and
    `wrong`."""
    try:
        found = json.loads(text, object_pairs_hook=tuple)  # A dict would drop duplicate keys.
    except (ValueError, RecursionError) as error:
        return {"id": name, "wrong": f"not JSON: {error}"}
    if not isinstance(found, tuple):
        return {"id": name, "wrong": "JSON, but not an object with labels"}
    if fault := misnamed((key for key, _ in found), (*LABELS, *PLACES)):
        return {"id": name, "wrong": f"its labels have {fault}"}
    return {key: value for key, value in found if key in (*LABELS, *PEOPLE, *PLACES, TRUE_AGE)}


@contextmanager
def _lines(file: Location) -> Iterator[IO[str]]:
    try:
        with file.fs.open(file.path, "r", encoding="utf-8-sig", newline="", compression="infer") as opened:
            yield opened
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read labelled photographs: {problem(error, file.url)}") from error
