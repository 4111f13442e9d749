"""Objects that are no files of their own: members of tars and rows of Parquet files, and what they are called.

    tar+s3://bucket/0001.tar#5120:34567/000045.jpg     34,567 bytes at 5,120, the member 000045.jpg
    tar+s3://bucket/0001.tar#4096+1536:34816/x.jpg     34,816 bytes and, from 4,096 on, 1,536 of headers that say what
                                                       becomes of them: a sparse file, or one whose size is elsewhere
    parquet+file:///data/0001.parquet#17/image         row 17 (from 0) of the column `image`
    tar+s3://bucket/0002.tar                           what nobody can tell of a damaged tar

Where in its file an object is stands in its name, so that nobody has to look for it and any row can be read again by
its `uri` alone. Behind the `#`, any other `#` and every `%` are percent-encoded.
"""

from __future__ import annotations

import io
import re
import tarfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq

from cilf.images.s3 import TooLarge
from cilf.images.version import check_opened
from cilf.storage import filesystem
from cilf.urls import split

HEADER = tarfile.BLOCKSIZE
"""Bytes before a member that describe it."""

LARGEST_HEADERS = 1 << 20
"""Bytes; whatever has more before it is damaged or means harm."""

DAMAGED = (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError)
"""What reading a damaged tar raises."""

# Of a Parquet file in memory at once. What a store sends ahead of what is asked for would mostly be another row group.
_READ_ROWS, _BUFFER = 16, 8 << 20
_UNCACHED = {"s3": {"cache_type": "none"}, "gs": {"cache_type": "none"}}

_MEMBER = re.compile(r"(.+)#(\d+)(?:\+(\d+))?:(\d+)/(.*)", re.DOTALL)
_ROW = re.compile(r"(.+)#(\d+)/(.*)", re.DOTALL)


class BrokenLink(Exception):
    """A member that is a link, which the listing would have replaced by its target had there been one."""


@dataclass(frozen=True)
class Member:
    """Where a member of a tar is."""

    tar: str
    """The tar's path, as its filesystem takes it."""
    start: int
    """First byte in the tar."""
    size: int
    """Bytes in the tar."""
    headers: int | None = None
    """Bytes before `start` that tell what becomes of its data, of a sparse file or one whose size stands in a PAX
    header. None: it is what stands there, and one header tells its size."""

    @property
    def span(self) -> tuple[int, int]:
        """First byte of its headers, and the one behind its data."""
        return self.start - (self.headers or HEADER), self.start + self.size

    def unpacked(self, data: bytes, max_bytes: int) -> bytes | None:
        """What the bytes of `span` hold; None where they are something else by now.

        Raises:
            BrokenLink: it is one.
            TooLarge: a sparse file that would have more than `max_bytes`.
        """
        if len(data) != self.span[1] - self.span[0]:
            return None
        try:
            if self.headers:
                return _expanded(data, max_bytes)
            header = tarfile.TarInfo.frombuf(data[:HEADER], "utf-8", "surrogateescape")
        except DAMAGED:
            return None
        if header.issym() or header.islnk():
            if self.size == 0:
                raise BrokenLink
            return None
        return data[HEADER:] if header.size == self.size else None


def _expanded(data: bytes, max_bytes: int) -> bytes | None:
    """The one member of a tar that is `data`."""
    with tarfile.open(fileobj=io.BytesIO(data + bytes(2 * HEADER)), mode="r:") as archive:
        member = archive.next()
        if member is None or not member.isreg():
            return None
        if member.size > max_bytes:
            raise TooLarge(member.size)
        opened = archive.extractfile(member)
        return opened.read() if opened else None


def member_uri(tar: str, start: int, size: int, name: str, headers: int | None = None) -> str:
    """What a member of the tar at the URL `tar` is called; see Member."""
    place = f"{start - headers}+{headers}" if headers else f"{start}"
    return f"{packed_url('tar', tar)}#{place}:{size}/{_quoted(name)}"


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
    if found is None:
        return None
    headers = int(found[3]) if found[3] else None
    start = int(found[2]) + (headers or 0)
    if start < HEADER or not HEADER <= (headers or HEADER) <= LARGEST_HEADERS:
        return None
    return Member(found[1], start, int(found[4]), headers)


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


def read_rows(scheme: str, rows: Sequence[Row], etags: Sequence[str | None]) -> list[bytes | Exception | None]:
    """The bytes of images in Parquet files, in the order of `rows`: None where a file has no such row or nothing in it,
    and what was raised where it cannot be read, or where it is another version than the one of `etags`."""
    answers: list[bytes | Exception | None] = [None] * len(rows)

    def one_file(place: int) -> tuple[str, str, str]:
        return rows[place].parquet, rows[place].column, etags[place] or ""

    for (parquet, column, etag), places in groupby(sorted(range(len(rows)), key=one_file), key=one_file):
        wanted = list(places)
        try:
            with filesystem(scheme).open(parquet, "rb", **_UNCACHED.get(scheme, {})) as opened:
                check_opened(etag, opened)
                found = _images(opened, column, sorted({rows[place].number for place in wanted}))
                check_opened(etag, opened)
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
