"""JSON lines. Their columns and types are what all lines together have, so a file is read twice."""

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
"""Bytes of whole lines whose types are found at once."""
_LONGEST = 1 << 28
"""Bytes of a line."""
_MANY = 30
"""Brackets in a line, at most. Lines nested some ten thousand levels deep crash Arrow."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LARGE = re.compile(rb"[:\[,]\s*-?\d{16}")
"""The beginning of a whole number that floating point may not hold."""


def columns(stream: Callable[[], Any], url: str) -> pa.Schema:
    """The columns of a file, of types that Arrow finds in all of its lines. Text stays text, also where it is a time.

    Args:
        stream: gives the bytes from the first on, no longer packed; called again to look for what is wrong.
        url: of the file.

    Raises:
        UsageError: a line is no object, or the lines do not go together.
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
    """The rows of a file, in the `columns` that were found in it."""
    for block, _ in _blocks(stream, url):
        yield from _parsed(block, found).to_batches()


def _may_kill(block: bytes) -> bool:
    """Whether Arrow may crash on this block: it begins with null, or a line has more than _MANY brackets."""
    return block.lstrip().startswith(b"null") or max(map(_brackets, block.split(b"\n"))) > _MANY


def _brackets(line: bytes) -> int:
    return line.count(b"{") + line.count(b"[")


def _has_large_number(block: bytes) -> bool:
    # Looking for sixteen digits first takes a tenth of the time.
    return b"0" * 16 in block.translate(_DIGITS) and _LARGE.search(block) is not None


def _parsed(block: bytes, known: pa.Schema | None) -> pa.Table:
    at_once = json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return json.read_json(pa.BufferReader(block), at_once, json.ParseOptions(explicit_schema=known))


def _both(before: pa.Schema, more: pa.Schema) -> pa.Schema:
    """The columns of two blocks, of types that hold both."""
    written = pa.schema([pa.field(field.name, _as_written(field.type)) for field in more])
    return pa.unify_schemas([before, written], promote_options="permissive")


def _as_written(kind: pa.DataType) -> pa.DataType:
    """A type that Arrow found, with text where it took text for a time."""
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _as_written(field.type)) for field in kind])
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _holds_fractions(kind: pa.DataType) -> bool:
    nested = (kind.field(number).type for number in range(kind.num_fields))
    return pa.types.is_floating(kind) or any(map(_holds_fractions, nested))


def _explain(stream: Callable[[], Any], url: str) -> None:
    """Raise a UsageError for the first line that is wrong, if there is one."""
    examination = Examination(url)
    with stream() as opened:
        for block, line in _blocks(opened, url):
            examination.look_at(block, line)


def _blocks(stream: Any, url: str) -> Iterator[tuple[bytes, int]]:
    """Whole lines that are not all blank, and the number of the first of them."""
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
                advice = "expected an object for each photograph, each in a line of its own (jq -c '.[]' makes that)"
                raise UsageError(f"{url}: line {line} begins a JSON array: {advice}")
            yield whole, line
            first = False
        line += breaks(whole)
