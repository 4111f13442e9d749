"""Objects inside other files, namely members of tars and rows of Parquet files, and their URIs.

    tar+s3://bucket/0001.tar#5120:34567/000045.jpg     34,567 bytes at 5,120, the member 000045.jpg
    tar+s3://bucket/0001.tar#4096+1536:34816/x.jpg     34,816 bytes, and 1,536 bytes of headers at 4,096 that are needed
                                                       to decode them: a sparse file, or one whose size is elsewhere
    parquet+file:///data/0001.parquet#17/image         row 17 (from 0) of the column `image`
    tar+s3://bucket/0002.tar                           the unknown members of a damaged tar

The name contains the object's position in its file, so that no search is needed and any row can be read again by its
`uri` alone. After the `#`, any other `#` and every `%` are percent-encoded.
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
"""Size of the header before a member, bytes."""

LARGEST_HEADERS = 1 << 20
"""Largest accepted size of a member's headers, bytes; a member with more is damaged or malicious."""

DAMAGED = (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError)
"""Exceptions that reading a damaged tar may raise."""

# Rows and bytes of a Parquet file in memory at once. Read-ahead from a store would mostly fetch another row group.
_READ_ROWS, _BUFFER = 16, 8 << 20
_UNCACHED = {"s3": {"cache_type": "none"}, "gs": {"cache_type": "none"}}

_MEMBER = re.compile(r"(.+)#(\d+)(?:\+(\d+))?:(\d+)/(.*)", re.DOTALL)
_ROW = re.compile(r"(.+)#(\d+)/(.*)", re.DOTALL)


class BrokenLink(Exception):
    """The member is a link whose target is not in the tar; else the listing would have replaced it by the target."""


@dataclass(frozen=True)
class Member:
    """The position of a member in a tar."""

    tar: str
    """The tar's path, as its filesystem expects it."""
    start: int
    """Offset of the member's first byte in the tar."""
    size: int
    """Bytes in the tar."""
    headers: int | None = None
    """Bytes of headers before `start` that are needed to decode the data, for a sparse file or one whose size is in a
    PAX header. None: the data is stored as it is, and a single header holds its size."""

    @property
    def span(self) -> tuple[int, int]:
        """Offset of the first byte of its headers, and of the byte after its data."""
        return self.start - (self.headers or HEADER), self.start + self.size

    def unpacked(self, data: bytes, max_bytes: int) -> bytes | None:
        """The member's content from the bytes of `span`; None if these bytes are no longer the member.

        Raises:
            BrokenLink: the member is a link without a target.
            TooLarge: a sparse file that would expand to more than `max_bytes`.
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
    """The content of the only member of a tar, given as `data`; None if it is not a regular file."""
    with tarfile.open(fileobj=io.BytesIO(data + bytes(2 * HEADER)), mode="r:") as archive:
        member = archive.next()
        if member is None or not member.isreg():
            return None
        if member.size > max_bytes:
            raise TooLarge(member.size)
        opened = archive.extractfile(member)
        return opened.read() if opened else None


def member_uri(tar: str, start: int, size: int, name: str, headers: int | None = None) -> str:
    """The URI of a member of the tar at the URL `tar`; see Member."""
    place = f"{start - headers}+{headers}" if headers else f"{start}"
    return f"{packed_url('tar', tar)}#{place}:{size}/{_quoted(name)}"


def row_uri(parquet: str, row: int, column: str) -> str:
    """The URI of a row of the Parquet file at the URL `parquet`."""
    return f"{packed_url('parquet', parquet)}#{row}/{_quoted(column)}"


def packed_url(kind: str, url: str) -> str:
    """The URL of a file that contains objects; kind is tar or parquet. By itself it stands for the unknown objects of a
    damaged file."""
    return f"{kind}+{'://'.join(split(url))}"


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("#", "%23")


def member(path: str) -> Member | None:
    """The member that the path of a `tar+…` URI names; None if it names no member."""
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
    """The position of a row in a Parquet file."""

    parquet: str
    """The file's path, as its filesystem expects it."""
    number: int
    column: str


def row(path: str) -> Row | None:
    """The row that the path of a `parquet+…` URI names; None if it names no row."""
    found = _ROW.fullmatch(path)
    return Row(found[1], int(found[2]), found[3].replace("%23", "#").replace("%25", "%")) if found else None


def read_rows(scheme: str, rows: Sequence[Row], etags: Sequence[str | None]) -> list[bytes | Exception | None]:
    """The bytes of images in Parquet files, in the order of `rows`: None if a file has no such row or the row is empty,
    and the exception if the row cannot be read, or its file has another version than in `etags`."""
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
    """Images by row number, for ascending `numbers`. A damaged row group affects only its own rows."""
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
