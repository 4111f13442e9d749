"""Faults in JSON lines that Arrow cannot read, or cannot read exactly, by line and key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from cilf.errors import UsageError
from cilf.manifest.columns import DEEPEST

_EXACT = 2**53
"""Floating point represents all whole numbers up to this one exactly."""
_DIGITS = 20
_SHOWN = 60
"""Characters of a value to show in a message."""
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}


class Examination:
    """Checks lines one after another, and compares their values with those of earlier lines under the same key.

    Args:
        url: the file's URL.
    """

    def __init__(self, url: str) -> None:
        self._url, self._line = url, 0
        self._kinds: dict[str, tuple[str, int]] = {}
        self._fractions: dict[str, int] = {}
        self._large: dict[str, tuple[int, int]] = {}
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_int=self._whole, parse_float=self._fraction
        )

    def look_at(self, block: bytes, line: int) -> None:
        """Check whole lines of UTF-8; `line` is the number of the first.

        Raises:
            UsageError: the first fault.
        """
        for self._line, text in enumerate(re.split(r"\r\n?|\n", block.decode()), line):
            if text.strip():
                value = self._parsed(text)
                if not isinstance(value, dict):
                    self._fail(f"is not an object: {_shown(value)}")
                self._look("", value, 0)

    def _parsed(self, text: str) -> Any:
        try:
            return self._decoder.decode(text)
        except RecursionError:
            self._fail_of_depth()
        except json.JSONDecodeError as error:
            self._fail(f"is not JSON: {error.msg} at character {error.pos + 1}: {_shown(text[error.pos :])}")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self._fail(f"has the key {twice!r} twice in one object")
        return found

    def _whole(self, text: str) -> int:
        if len(text) > _DIGITS or not -(2**63) <= int(text) < 2**63:
            self._fail(f"has the number {text[:_SHOWN]}, which does not fit into 64 bits: write it as text, in quotes")
        return int(text)

    def _fraction(self, text: str) -> float:
        if math.isinf(float(text)):
            self._fail(f"has the number {text[:_SHOWN]}, which is too large: write it as text, in quotes")
        return float(text)

    def _look(self, path: str, value: Any, depth: int) -> None:
        """Check a value under a key, and the values inside it."""
        if depth > DEEPEST:
            self._fail_of_depth()
        if value is None:
            return
        if path:
            self._compare(path, value)
        for key, inner in _inside(value):
            self._look(f"{path}.{key}" if path and key != "[]" else f"{path}{key}", inner, depth + 1)

    def _compare(self, path: str, value: Any) -> None:
        """Compare a value with those under the same key in earlier lines."""
        kind = _KINDS[type(value)]
        before, line = self._kinds.setdefault(path, (kind, self._line))
        if kind != before:
            advice = "write null for missing values" if value != value else "use the same type in all lines"
            self._fail(f"has {kind} under {path!r}, {_shown(value)}, but line {line} has {before}: {advice}")
        if isinstance(value, str) and not value.isascii():
            self._check_text(path, value)
        if type(value) is float:
            self._fractions[path] = self._line
        if type(value) is int and abs(value) > _EXACT:
            self._large[path] = value, self._line
        if path in self._fractions and path in self._large:
            number, self._line = self._large[path]
            broken = f"line {self._fractions[path]} has a number with a fraction"
            self._fail(f"has {number} under {path!r}, but {broken}, so it would lose digits: write both as text")

    def _check_text(self, path: str, value: str) -> None:
        try:
            value.encode()
        except UnicodeEncodeError:
            self._fail(f"has half of a surrogate pair under {path!r}, which is not text: {_shown(ascii(value))}")

    def _fail_of_depth(self) -> NoReturn:
        self._fail(f"is nested deeper than {DEEPEST} levels")

    def _fail(self, found: str) -> NoReturn:
        raise UsageError(f"{self._url}: line {self._line} {found}")


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from (("[]", inner) for inner in value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
