"""Reads text files of labels: detects the delimiter and the column names, and tolerates malformed lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from cilf.errors import UsageError

_DIVIDERS = ",;\t"


def records(file: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Yields the lines of a file with a header as dictionaries; missing cells are empty.

    Args:
        columns: names of required columns, lower case.

    Raises:
        UsageError: the file cannot be read, or a column is missing.
    """
    lines = rows(file)
    header = [name.strip().lower() for name in next(lines, [])]
    if missing := [name for name in columns if name not in header]:
        raise UsageError(f"{file} has no column {', '.join(missing)} (its columns: {', '.join(header) or 'none'})")
    for line in lines:
        yield dict.fromkeys(header, "") | {n: cell.strip() for n, cell in zip(header, line, strict=False)}


def rows(file: Path) -> Iterator[list[str]]:
    """Yields the cells of every line that is not empty.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")
    lines = [line for line in decoded.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    divider = max(_DIVIDERS, key=first.count)
    if divider not in first:
        divider = " "
    for line in lines:  # One by one: an unclosed quote must not swallow the lines after it.
        try:
            yield next(csv.reader([line.replace("\0", "")], delimiter=divider), [])
        except csv.Error:
            yield [line]
