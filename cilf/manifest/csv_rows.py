"""CSV as defined by RFC 4180, all of it as text: every byte of a field is kept, and errors are reported by line.

pyarrow reads text after a closing quote, and everything after a quote that is never closed, rows included, as part of
the field; and if a line break in a field spans two of its blocks, it loses a byte. So it is given whole rows, whose
quotes have been checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import csv

from cilf.errors import UsageError
from cilf.manifest.lines import MARK, breaks, check_utf8
from cilf.words import counted

_BLOCK = 1 << 20
"""Bytes to read at once."""
_LONGEST = 1 << 26
"""Bytes of the longest row; in a longer one, a quote has not been closed."""
_SHOWN = 60
"""Bytes of a row or field to show in a message."""

_QUOTED = rb'"(?:[^"]++|"")*+"'
_FIELD = rb'(?:%b|[^",\r\n][^,\r\n]*+)?+' % _QUOTED
# A CR at the end of what has been read may be followed by its LF in the next block.
_ROW = re.compile(rb"(?:%b,)*+%b(?:\r\n|\n|\r(?!\n|\Z))" % (_FIELD, _FIELD))
_ROWS = re.compile(rb"(?:%b)*+" % _ROW.pattern)
_FIELDS = re.compile(rb"(?:%b,)*+" % _FIELD)
_TEXT_BEHIND = re.compile(rb'%b[^",\r\n]' % _QUOTED)


def read(stream: Any, url: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a file, and its rows. A field without any characters is null, and `""` is the empty text.

    Args:
        stream: the decompressed bytes.
        url: the file's URL.

    Raises:
        UsageError: the file is not CSV; this may also be raised while its rows are read.
    """
    blocks = ((block, line) for block, line in _blocks(stream, url) if block.strip(b"\r\n"))
    first, line = next(blocks, (b"", 1))
    if not first:
        raise UsageError(f"{url} is empty: expected a line with the names of columns, and a line for each object")
    head = _parsed(first, line, url, None)
    names = head.schema.names

    def batches() -> Iterator[pa.RecordBatch]:
        yield from head.to_batches()
        for block, line in blocks:
            yield from _parsed(block, line, url, names).to_batches()

    return head.schema, batches()


def _parsed(block: bytes, line: int, url: str, names: list[str] | None) -> pa.Table:
    """Parse whole rows; if no names are given, they are in the first row."""
    wrong: list[csv.InvalidRow] = []

    def told(row: csv.InvalidRow) -> str:
        wrong.append(row)
        return "error"

    check_utf8(block, line, url)
    text = csv.ConvertOptions(
        default_column_type=pa.string(),
        column_types=dict.fromkeys(names or (), pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    at_once = csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names)
    quoted = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=told)
    try:
        return csv.read_csv(pa.BufferReader(block), at_once, quoted, text)
    except pa.ArrowInvalid as error:
        if not wrong:
            raise
        expected, found = (counted(n, "field") for n in (wrong[0].expected_columns, wrong[0].actual_columns))
        line += _row_breaks(block, wrong[0].number)
        raise UsageError(
            f"{url}: line {line} has {found}, but the line with the column names has {expected}: "
            f"{wrong[0].text[:_SHOWN]!r}"
        ) from error


def _row_breaks(block: bytes, number: int) -> int:
    """Number of lines that end before the row with this number; rows that are not blank are counted from 1."""
    rows = [row for row in _ROW.finditer(block + b"x") if row.group().strip(b"\r\n")]  # A CR may end the last one.
    return breaks(block[: rows[number - 1].start()])


def _blocks(stream: Any, url: str) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole rows, each with the number of its first line."""
    rest, line, more = stream.read(len(MARK)).removeprefix(MARK), 1, b"\n"
    while more:
        more = stream.read(max(_BLOCK, len(rest)))
        rest += more or b"\n"
        whole = rest[: _ROWS.match(rest).end()]  # type: ignore[union-attr]  # It matches empty text, too.
        yield whole, line
        line += breaks(whole)
        rest = rest[len(whole) :]
        _check_quotes(rest, line, url, ended=not more)


def _check_quotes(row: bytes, line: int, url: str, ended: bool) -> None:
    """Make sure that the beginning of a row is valid so far.

    Raises:
        UsageError: there is text after a closing quote, or a quote is not closed.
    """
    start = _FIELDS.match(row).end()  # type: ignore[union-attr]
    behind = _TEXT_BEHIND.match(row, start)
    if not behind and not (ended and row) and len(row) < _LONGEST:
        return
    line += breaks(row[:start])
    found = "is not closed"
    if behind:
        found = f"is closed in line {line + breaks(behind.group())}, with text after it"
    shown = row[start : start + _SHOWN].decode(errors="replace").partition("\n")[0].rstrip()
    advice = 'expected a comma or the end of the line there; a quote that is part of a field is written ""'
    raise UsageError(f"{url}: the quote in line {line} that begins the field {shown} {found}: {advice}")
