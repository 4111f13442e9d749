"""Objects that are no files of their own: members of tars and rows of Parquet files, and what they are called.

    tar+s3://bucket/0001.tar#5120:34567/000045.jpg     34,567 bytes at 5,120, the member 000045.jpg
    parquet+file:///data/0001.parquet#17/image         row 17 (from 0) of the column `image`
    tar+s3://bucket/0002.tar                           what nobody can tell of a damaged tar

Where in its file an object is stands in its name, so that nobody has to look for it and any row can be read again by
its `uri` alone. Behind the `#`, any other `#` and every `%` are percent-encoded.
"""

from __future__ import annotations

import re
import tarfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq

from cilf.storage import filesystem, split

HEADER = tarfile.BLOCKSIZE
"""Bytes before a member that describe it."""

# Of a Parquet file in memory at once. What a store sends ahead of what is asked for would mostly be another row group.
_READ_ROWS, _BUFFER = 16, 8 << 20
_UNCACHED = {"s3": {"cache_type": "none"}, "gs": {"cache_type": "none"}}

_MEMBER = re.compile(r"(.+)#(\d+):(\d+)/(.*)", re.DOTALL)
_ROW = re.compile(r"(.+)#(\d+)/(.*)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """Where a member of a tar is."""

    tar: str
    """The tar's path, as its filesystem takes it."""
    start: int
    size: int
    """Both in bytes."""

    @property
    def span(self) -> tuple[int, int]:
        """First byte of its header, and the one behind its data."""
        return self.start - HEADER, self.start + self.size

    def unpacked(self, data: bytes) -> bytes | None:
        """What the bytes of `span` hold; None where they are something else by now."""
        try:
            header = tarfile.TarInfo.frombuf(data[:HEADER], "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return None
        return data[HEADER:] if header.size == self.size == len(data) - HEADER else None


def member_uri(tar: str, start: int, size: int, name: str) -> str:
    """What a member of the tar at the URL `tar` is called."""
    return f"{packed_url('tar', tar)}#{start}:{size}/{_quoted(name)}"


def row_uri(parquet: str, row: int, column: str) -> str:
    """What a row of the Parquet file at the URL `parquet` is called."""
    return f"{packed_url('parquet', parquet)}#{row}/{_quoted(column)}"


def packed_url(kind: str, url: str) -> str:
    """The URL of a file as a place of objects; kind is tar or parquet. By itself it stands for what nobody can tell of
    a damaged one."""
    return f"{kind}+{'://'.join(split(url))}"


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("#", "%23")


def member(path: str) -> Member | None:
    """What the path of a `tar+…` URI names; None where it names no member."""
    found = _MEMBER.fullmatch(path)
    if found is None or int(found[2]) < HEADER:
        return None
    return Member(found[1], int(found[2]), int(found[3]))


@dataclass(frozen=True)
class Row:
    """Where a row of a Parquet file is."""

    parquet: str
    """The file's path, as its filesystem takes it."""
    number: int
    column: str


def row(path: str) -> Row | None:
    """What the path of a `parquet+…` URI names; None where it names no row."""
    found = _ROW.fullmatch(path)
    return Row(found[1], int(found[2]), found[3].replace("%23", "#").replace("%25", "%")) if found else None


def read_rows(scheme: str, rows: Sequence[Row]) -> list[bytes | Exception | None]:
    """The bytes of images in Parquet files, in the order of `rows`: None where a file has no such row or nothing in it,
    and what was raised where it cannot be read."""
    answers: list[bytes | Exception | None] = [None] * len(rows)
    ordered = sorted(range(len(rows)), key=lambda place: (rows[place].parquet, rows[place].column, rows[place].number))
    for (parquet, column), places in groupby(ordered, key=lambda place: (rows[place].parquet, rows[place].column)):
        wanted = list(places)
        try:
            with filesystem(scheme).open(parquet, "rb", **_UNCACHED.get(scheme, {})) as opened:
                found = _images(opened, column, sorted({rows[place].number for place in wanted}))
        except Exception as error:
            found = {rows[place].number: error for place in wanted}
        for place in wanted:
            answers[place] = found.get(rows[place].number)
    return answers


def _images(opened: Any, column: str, numbers: list[int]) -> dict[int, bytes | Exception | None]:
    """Rows by their numbers, which are given in order. A row group that is damaged costs its own."""
    file, found, behind = pq.ParquetFile(opened, buffer_size=_BUFFER), {}, 0
    if column not in file.schema_arrow.names:
        return {}
    for group in range(file.num_row_groups):
        first, behind = behind, behind + file.metadata.row_group(group).num_rows
        inside = numbers[bisect_left(numbers, first) : bisect_left(numbers, behind)]
        if not inside:
            continue
        found.update(dict.fromkeys(inside))
        try:
            for batch in file.iter_batches(_READ_ROWS, row_groups=[group], columns=[column], use_threads=False):
                for number in inside[bisect_left(inside, first) : bisect_left(inside, first + len(batch))]:
                    value = batch[column][number - first].as_py()
                    value = value.get("bytes") if isinstance(value, dict) else value
                    found[number] = value if isinstance(value, bytes) else None
                first += len(batch)
                if first > inside[-1]:
                    break
        except Exception as error:
            found.update((number, error) for number in inside if number >= first)
    return found
