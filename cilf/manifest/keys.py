"""Keys of objects as S3 writes them in its answers and inventories, and the globs that choose among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa


def decoded(keys: list[str]) -> list[str]:
    """URL-encoded keys as they are in the bucket. Most hold nothing to decode, and looking is much faster."""
    return [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]


class Include:
    """Globs that choose among objects, and what has come of them so far.

    As in a shell, `{jpg,png}` is either and `**/` any number of folders, none as well; `*` matches "/" too.
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
        """The rows whose `uri` fits one of the globs from character `below` on; all of them where there is no glob.

        Of an object that is an INPUT itself the name has to fit.
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
        """Whether anything can fit below a folder, whose key ends in a slash."""
        folder = folder.lower()  # Of what would fit in other case the user is told.
        return not self._globs or any(folder.startswith(start) or start.startswith(folder) for start in self._starts)

    def remark(self) -> str | None:
        """What the user should know: that nothing has fitted, and why that may be."""
        if self._fitting or not self._globs:
            return None
        globs = " ".join(f"--include '{glob}'" for glob in self._globs)
        if not self._seen:
            return f"no object fits {globs}"
        none = f"none of {self._seen:,} objects fits" if self._seen > 1 else "the one object does not fit"
        if self._in_other_case:
            return f"{none} {globs}: {self._in_other_case:,} would in other case, such as {self._example}"
        return f"{none} {globs}, which is matched against all of a key, such as {self._example}"


def without_braces(globs: Sequence[str]) -> list[str]:
    """Globs of `*`, `?` and brackets alone that together fit what these do."""
    return [choice for glob in globs for choice in _choices(glob.replace("**/", "{,*/}"))]


def _choices(glob: str) -> Iterator[str]:
    """The globs that one with braces stands for. Braces without a comma stand for themselves, and so does `[{]`."""
    braces = re.search(r"(?<!\[)\{([^{}]*,[^{}]*)\}", glob)
    if braces is None:
        yield glob
        return
    for choice in braces[1].split(","):
        yield from _choices(glob[: braces.start()] + choice + glob[braces.end() :])
