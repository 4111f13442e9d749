"""JSON lines. The columns and types depend on all lines together, so a file is read twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import json

from cilf.errors import UsageError
from cilf.manifest.json_faults import Examination
from cilf.manifest.lines import MARK, breaks, check_utf8

_BLOCK = 1 << 24
"""Bytes of whole lines whose types are determined at once."""
_LONGEST = 1 << 28
"""Bytes of the longest line."""
_MANY = 30
"""Most brackets in a line that is given to Arrow unchecked. Lines nested some ten thousand levels deep crash Arrow."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LARGE = re.compile(rb"[:\[,]\s*-?\d{16}")
"""The beginning of a whole number that floating point may not represent exactly."""


def columns(stream: Callable[[], Any], url: str) -> pa.Schema:
    """The columns of a file, with the types that Arrow finds in all of its lines. Text stays text, even if it is a
    time.

    Args:
        stream: opens the decompressed bytes from the start; called again to find the fault in a line.
        url: the file's URL.

    Raises:
        UsageError: a line is not an object, or the lines have no common types.
    """
    found, large = pa.schema([]), False
    with stream() as opened:
        for block, line in _blocks(opened, url):
            if _may_kill(block):
                Examination(url).look_at(block, line)
            large = large or _has_large_number(block)
            try:
                found = _both(found, _parsed(block, None).schema)
            except pa.ArrowException:
                _explain(stream, url)
                raise
    if large and any(map(_holds_fractions, found.types)):
        _explain(stream, url)
    return found


def read(stream: Any, found: pa.Schema, url: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file, with the columns that `columns` has found in it."""
    for block, _ in _blocks(stream, url):
        yield from _parsed(block, found).to_batches()


def _may_kill(block: bytes) -> bool:
    """True if Arrow may crash on this block, because it begins with null or a line has more than _MANY brackets."""
    return block.lstrip().startswith(b"null") or max(map(_brackets, block.split(b"\n"))) > _MANY


def _brackets(line: bytes) -> int:
    return line.count(b"{") + line.count(b"[")


def _has_large_number(block: bytes) -> bool:
    # With a search for sixteen digits first, it takes a tenth of the time.
    return b"0" * 16 in block.translate(_DIGITS) and _LARGE.search(block) is not None


def _parsed(block: bytes, known: pa.Schema | None) -> pa.Table:
    at_once = json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return json.read_json(pa.BufferReader(block), at_once, json.ParseOptions(explicit_schema=known))


def _both(before: pa.Schema, more: pa.Schema) -> pa.Schema:
    """The columns of two blocks, with types that can hold the values of both."""
    written = pa.schema([pa.field(field.name, _as_written(field.type)) for field in more])
    return pa.unify_schemas([before, written], promote_options="permissive")


def _as_written(kind: pa.DataType) -> pa.DataType:
    """A type that Arrow found, with text wherever Arrow took text for a time."""
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _as_written(field.type)) for field in kind])
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _holds_fractions(kind: pa.DataType) -> bool:
    nested = (kind.field(number).type for number in range(kind.num_fields))
    return pa.types.is_floating(kind) or any(map(_holds_fractions, nested))


def _explain(stream: Callable[[], Any], url: str) -> None:
    """Raise a UsageError for the first faulty line, if there is one."""
    examination = Examination(url)
    with stream() as opened:
        for block, line in _blocks(opened, url):
            examination.look_at(block, line)


def _blocks(stream: Any, url: str) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines that are not all blank, each with the number of its first line."""
    rest, line, more, first = stream.read(len(MARK)).removeprefix(MARK), 1, b"\n", True
    while more:
        more = stream.read(_BLOCK)
        rest += more or b"\n"
        whole = rest[: rest.rfind(b"\n") + 1]
        rest = rest[len(whole) :]
        if len(rest) > _LONGEST:
            raise UsageError(f"{url}: line {line + breaks(whole)} is longer than {_LONGEST >> 20} MiB")
        if whole.strip():
            check_utf8(whole, line, url)
            if first and whole.lstrip().startswith(b"["):
                advice = "expected one object per photograph, each on its own line (jq -c '.[]' converts an array)"
                raise UsageError(f"{url}: line {line} begins a JSON array: {advice}")
            yield whole, line
            first = False
        line += breaks(whole)
