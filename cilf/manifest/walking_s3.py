"""Listing S3 prefixes with many requests at once.

S3 lists keys in the order of their characters, 1000 at a time, and each request needs the answer to the one before.
So what is left of a prefix is cut into spans of keys that are read in parallel. The key at which a span is cut is found
by asking for one key after a guess: this needs no folders, so a flat prefix of millions is cut as well. Every request
names the input's own prefix, so a role needs permission to list only that one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from cilf.errors import UsageError
from cilf.manifest.failures import told
from cilf.manifest.ids import UNIDENTIFIED
from cilf.manifest.keys import decoded
from cilf.storage import Location

REQUESTS = 32
"""LIST requests in flight."""

UNLISTED = "cannot list INPUT"

_PAGE = 1000  # keys; S3 returns no more
_TABLE_ROWS = 10_000
_COLUMNS = ("Key", "ETag", "Size", "LastModified")

SpanLeft = tuple[str, str | None]
"""A part of a prefix that is still to be listed: the keys after the first one, up to and including the second."""


@dataclass(eq=False)
class _Span:
    source: Location
    after: str = ""
    upto: str | None = None
    token: str | None = None
    """S3's token for the next page."""
    pages: int = 0
    cut_at: int = 2
    """Number of pages after which the span is long enough to be cut."""

    @property
    def prefix(self) -> str:
        key = self.source.path.partition("/")[2]
        return f"{key}/" if key else ""


@dataclass(frozen=True)
class _Page:
    keys: list[str]
    objects: pa.Table
    token: str | None


class S3Walk:
    """Lists every object below some prefixes, or, if there are none below a prefix, the object of that name.

    Args:
        sources: prefixes on S3, none of them below another one.
        left: what is left to list of the prefixes that have been started, by URL.
    """

    def __init__(self, sources: Sequence[Location], left: dict[str, list[SpanLeft]]) -> None:
        self._fs = _lister(sources[0].fs)
        self._spans = {s.url: [_Span(s, *span) for span in left.get(s.url, [("", None)])] for s in sources}
        self._read: dict[str, list[pa.Table]] = {s.url: [] for s in sources}
        self._waiting = deque(span for spans in self._spans.values() for span in spans)
        self._paging: dict[Future[Any], _Span] = {}
        self._cutting: dict[Future[Any], _Span] = {}

    def tables(self) -> Iterator[tuple[Location, pa.Table, list[SpanLeft]]]:
        """A prefix, a table of schema.MANIFEST without `id`, and what is left of the prefix after this table.

        Raises:
            UsageError: a prefix cannot be listed.
        """
        try:
            while self._waiting or self._paging:
                self._ask()
                for future in wait([*self._paging, *self._cutting], return_when=FIRST_COMPLETED).done:
                    if future in self._cutting:
                        self._cut(self._cutting.pop(future), future)
                    else:
                        yield from self._take(self._paging.pop(future), future)
        finally:
            for future in (*self._paging, *self._cutting):
                future.cancel()

    def _ask(self) -> None:
        while self._waiting and self._has_room():
            span = self._waiting.popleft()
            self._paging[self._start(_page(self._fs, span))] = span
        for span in self._paging.values():
            if self._has_room() and span.pages >= span.cut_at and span not in self._cutting.values():
                # If that fails, it is tried later and later: near its end, a span has nothing left to cut off.
                span.cut_at = 2 * span.pages
                self._cutting[self._start(_find_cut(self._fs, span))] = span

    def _has_room(self) -> bool:
        return len(self._paging) + len(self._cutting) < REQUESTS

    def _start(self, request: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(request, self._fs.loop)

    def _take(self, span: _Span, future: Future[Any]) -> Iterator[tuple[Location, pa.Table, list[SpanLeft]]]:
        page: _Page = _answer(future, span.source)
        spans, read = self._spans[span.source.url], self._read[span.source.url]
        # Keys that a cut has taken from the span while this page was being fetched belong to another span.
        own = len(page.keys) if span.upto is None else bisect_right(page.keys, span.upto)
        read.append(page.objects.slice(0, own))
        span.after = page.keys[own - 1] if own else span.after
        span.token, span.pages = page.token, span.pages + 1
        if page.token is None or own < len(page.keys):
            spans.remove(span)
        else:
            self._waiting.appendleft(span)
        if not spans or sum(map(len, read)) >= _TABLE_ROWS:
            table = pa.concat_tables(read)
            read.clear()
            yield span.source, table, [(span.after, span.upto) for span in spans]

    def _cut(self, span: _Span, future: Future[Any]) -> None:
        cut: str | None = _answer(future, span.source)
        spans = self._spans[span.source.url]
        # Meanwhile the span may have been read beyond the cut.
        if cut is not None and span in spans and span.after < cut and (span.upto is None or cut < span.upto):
            rest = _Span(span.source, after=cut, upto=span.upto)
            span.upto, span.cut_at = cut, span.pages + 1
            spans.append(rest)
            self._waiting.append(rest)


def holds_objects(source: Location) -> bool:
    """True if there is anything under a prefix."""
    fs = _lister(source.fs)
    page: _Page = sync(fs.loop, _page, fs, _Span(source), 1)
    return bool(page.keys)


def _answer(future: Future[Any], source: Location) -> Any:
    with told(UNLISTED, source):
        return future.result()


async def _page(fs: AbstractFileSystem, span: _Span, size: int = 0) -> _Page:
    """The next page of a span, with up to `size` keys (0: as many as possible)."""
    go_on = {"ContinuationToken": span.token} if span.token else {"StartAfter": span.after} if span.after else {}
    answer = await _list(fs, span, span.prefix, MaxKeys=size or _PAGE, **go_on)
    listed = answer["Listed"]
    name = span.source.path.partition("/")[2]
    if not (listed["Key"] or go_on or answer.get("IsTruncated")) and name:
        # Not a prefix, but perhaps an object: then its key is the first one with this beginning.
        try:
            listed = (await _list(fs, span, name, MaxKeys=1))["Listed"]
        except PermissionError:  # The role may only list the prefix.
            listed = dict.fromkeys(_COLUMNS, ())
        if list(listed["Key"]) != [name]:
            listed = dict.fromkeys(_COLUMNS, ())
    keys = list(listed["Key"])
    if keys != sorted(keys) or (keys and keys[0] <= span.after):
        raise UsageError(f"the store of {span.source.url} does not list keys in order, as S3 does")
    bucket = span.source.path.partition("/")[0]
    uris = pa.array([f"s3://{bucket}/{key}" for key in keys], pa.string())
    etags, sizes, times = (pa.array(listed[name], pa.string()) for name in ("ETag", "Size", "LastModified"))
    columns = [uris, pc.utf8_trim(etags, '"'), sizes.cast(pa.int64()), times.cast(UNIDENTIFIED.field("modified").type)]
    objects = pa.table(columns, schema=UNIDENTIFIED)
    return _Page(keys, objects, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None)


async def _find_cut(fs: AbstractFileSystem, span: _Span) -> str | None:
    """A key, existing or not, after which the span has more keys; None if none was found.

    Such a key is made from a beginning of the last key read: the keys with this beginning come before it, all others
    after it. First the beginning is made as short as possible while keys remain after it, so that the cut is at the
    first difference: folders, dates, digits. Then its last character is moved on, about half of the way to the last one
    that occurs.
    """

    async def are_behind(guess: str | None) -> bool:
        if guess is None or (span.upto is not None and guess >= span.upto):
            return False
        found = (await _list(fs, span, span.prefix, MaxKeys=1, StartAfter=guess))["Listed"]["Key"]
        return bool(found) and (span.upto is None or found[0] <= span.upto)

    last, shortest, longest, best = span.after, len(span.prefix), len(span.after), None
    while shortest < longest:
        middle = (shortest + longest) // 2
        guess = _behind(last[: middle + 1])
        if await are_behind(guess):
            best, longest = guess, middle
        else:
            shortest = middle + 1
    if best is None:
        return None
    low = ord(best[-1])
    high = 0x7F if low < 0x7F else 0x10FFFF
    while low < (half := (low + high) // 2):
        if await are_behind(guess := best[:-1] + _character(half)):
            return guess
        high = half
    return best


def _behind(start: str) -> str | None:
    """The first string after all those with this beginning; None if there is none."""
    start = start.rstrip("\U0010ffff")  # The last character of Unicode has no successor.
    return start[:-1] + _character(ord(start[-1]) + 1) if start else None


def _character(number: int) -> str:
    """The first character from a code point on; surrogates are not characters."""
    return chr(0xE000 if 0xD800 <= number < 0xE000 else number)


async def _list(fs: AbstractFileSystem, span: _Span, prefix: str, **arguments: Any) -> dict[str, Any]:
    """Send one LIST request. Returns botocore's answer, with the columns of its objects as text in `Listed`."""
    bucket = span.source.path.partition("/")[0]
    answer: dict[str, Any] = await fs._call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **arguments)
    if answer.get("EncodingType") == "url":
        answer["Listed"]["Key"] = decoded(answer["Listed"]["Key"])
    return answer


@lru_cache
def _lister(fs: AbstractFileSystem) -> AbstractFileSystem:
    """A filesystem like `fs`, only for listing, which it does faster."""
    from aiobotocore.session import get_session

    session = get_session()
    session.register("before-parse.s3.ListObjectsV2", _read_objects)
    lister = type(fs)(**{**fs.storage_options, "session": session, "skip_instance_cache": True})
    lister.retries = fs.retries
    return lister


def _read_objects(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Take the objects out of an answer before botocore parses it, which would take 20 times as long for them."""
    try:
        root = ElementTree.fromstring(response_dict["body"])
    except ElementTree.ParseError:
        return  # botocore raises a proper error for it
    space = root.tag[: root.tag.rfind("}") + 1]
    if root.tag != f"{space}ListBucketResult":
        return
    objects = root.findall(f"{space}Contents")
    customized_response_dict["Listed"] = {
        name: [item.findtext(f"{space}{name}") for item in objects] for name in _COLUMNS
    }
    root[:] = [item for item in root if item.tag != f"{space}Contents"]
    response_dict["body"] = ElementTree.tostring(root)
