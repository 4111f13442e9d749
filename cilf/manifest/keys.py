"""Keys of objects as S3 writes them in its answers and inventories, and the globs that select among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa


def decoded(keys: list[str]) -> list[str]:
    """Decode URL-encoded keys. Most have nothing to decode, and checking for that is much faster."""
    return [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]


class Include:
    """Globs that select objects, with counts of what they have matched so far.

    As in a shell, `{jpg,png}` matches either and `**/` any number of folders, including none; `*` also matches "/".
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._globs = globs
        plain = without_braces(globs)
        pattern = "|".join(map(translate, plain))
        self._fits = re.compile(pattern).match
        self._fits_in_other_case = re.compile(pattern, re.IGNORECASE).match
        self._starts = [re.split(r"[*?[]", choice, maxsplit=1)[0].lower() for choice in plain]
        self._seen = self._fitting = self._in_other_case = 0
        self._example = ""

    def fitting(self, table: pa.Table, below: int) -> pa.Table:
        """The rows whose `uri`, from character `below` on, matches one of the globs; all rows if there are no globs.

        If an object is itself an INPUT, its name has to match.
        """
        if not self._globs:
            return table
        uris = table["uri"].to_pylist()
        keys = [uri[below:] or uri[uri.rfind("/") + 1 :] for uri in uris]
        chosen = table.filter(pa.array(np.array([self._fits(key) is not None for key in keys], bool)))
        self._seen, self._fitting = self._seen + len(table), self._fitting + len(chosen)
        if keys and not self._fitting:
            near = [key for key in keys if self._fits_in_other_case(key)]
            if not self._example or (near and not self._in_other_case):
                self._example = (near or keys)[0]
            self._in_other_case += len(near)
        return chosen

    def may_hold(self, folder: str) -> bool:
        """True if any object below a folder, whose key ends in a slash, can match."""
        folder = folder.lower()  # Objects that would match in other case are counted for `remark`.
        return not self._globs or any(folder.startswith(start) or start.startswith(folder) for start in self._starts)

    def remark(self) -> str | None:
        """A message that nothing has matched, and why that may be; None if something has."""
        if self._fitting or not self._globs:
            return None
        globs = " ".join(f"--include '{glob}'" for glob in self._globs)
        if not self._seen:
            return f"no object matches {globs}"
        none = f"none of {self._seen:,} objects matches" if self._seen > 1 else "the only object does not match"
        if self._in_other_case:
            return f"{none} {globs}: {self._in_other_case:,} would match in other case, such as {self._example}"
        return f"{none} {globs}, which must match the whole key, such as {self._example}"


def without_braces(globs: Sequence[str]) -> list[str]:
    """Globs with only `*`, `?` and brackets that together match the same keys."""
    return [choice for glob in globs for choice in _choices(glob.replace("**/", "{,*/}"))]


def _choices(glob: str) -> Iterator[str]:
    """The globs that one with braces expands to. Braces without a comma are literal, and so is `[{]`."""
    braces = re.search(r"(?<!\[)\{([^{}]*,[^{}]*)\}", glob)
    if braces is None:
        yield glob
        return
    for choice in braces[1].split(","):
        yield from _choices(glob[: braces.start()] + choice + glob[braces.end() :])
