"""Walking a local folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from cilf.images.version import local_version
from cilf.manifest.keys import Include
from cilf.storage import Location


class Found(NamedTuple):
    """An object, as its store describes it."""

    uri: str
    etag: str | None
    bytes: int | None
    modified: Any
    """Microseconds since 1970, or a datetime."""
    path: str
    """The path from which a walk that ended here resumes."""


class LocalWalk:
    """Walks every file below a folder, whatever its name, or the single file `root`.

    Links are followed. A folder with several paths is walked once: below `root` under its own name, elsewhere under
    that of the first link to it or to a folder above it. A broken link is an object that will be `missing`. The file
    system has no etags: size and modification time, in nanoseconds, replace them, so that a changed file is labelled
    again.

    Args:
        root: a path.
        followed: the value of `followed` where the walk that this one resumes has stopped.
        include: folders that cannot hold matching objects are skipped.
        say: called with a message for each folder that cannot be read.
        apart: a folder that is left out.
    """

    def __init__(
        self,
        root: str,
        followed: Sequence[str],
        include: Include,
        say: Callable[[str], None],
        apart: Location | None = None,
    ) -> None:
        self._root, self._include, self._say = root, include, say
        self._real = os.path.realpath(root)
        self._apart = os.path.realpath(apart.path) if apart and apart.scheme == "file" else None
        self.followed = dict.fromkeys(followed)
        """Targets of the links followed so far."""
        self._numbers = {_number(folder) for folder in (root, *followed)} - {None}
        """Device and inode of the root and of these folders, to which a mount may lead by another path."""

    def files(self, after: str | None) -> Iterator[Found]:
        """The files after the path `after`, folder by folder, sorted by name.

        Raises:
            OSError: the root cannot be read.
        """
        if os.path.isdir(self._root):  # noqa: PTH112
            begun = [] if after is None else after[len(self._root) :].lstrip("/").split("/")
            yield from self._below(self._root, self._real, begun)
        elif after is None:
            os.stat(self._root)  # noqa: PTH116  # A root that cannot be reached is an error, not an object.
            yield from filter(None, [_file(self._root)])

    def _below(self, folder: str, real: str, begun: list[str]) -> Iterator[Found]:
        """The files below a folder, whose path without links is `real`. `begun` holds the names on the path to one of
        them; only the files after that one are returned."""
        if real == self._apart or not self._may_hold(folder, self._root):
            return
        for name, is_folder in self._entries(folder):
            if begun and name < begun[0]:
                continue
            rest = begun[1:] if begun and name == begun[0] else []
            path = f"{folder.rstrip('/')}/{name}"
            if is_folder:
                inside = f"{real.rstrip('/')}/{name}"
                if _number(path) not in self._numbers:
                    yield from self._below(path, inside, rest)
            elif found := _file(path):
                if begun != [name]:
                    yield found
            elif os.path.isdir(path):  # noqa: PTH112
                yield from self._by_link(path, rest)

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Sorted names in a folder, and whether each is a folder itself, not a link; empty if the folder cannot be read
        or has gone."""
        try:
            with os.scandir(folder) as entries:
                # All names at once, but only what is needed of each entry: folders with millions of files are common.
                return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            os.scandir(self._root).close()  # Raises if the root has gone: the listing would pass for complete.
            if folder == self._root:
                raise
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self._say(f"left out {folder}, which cannot be read: {error.strerror}")
            return []

    def _by_link(self, path: str, begun: list[str]) -> Iterator[Found]:
        real = os.path.realpath(path)
        if begun or (self._may_hold(path, self._root) and not self._is_walked(real)):
            self.followed[real] = None
            self._numbers.add(_number(real))
            yield from self._below(path, real, begun)

    def _is_walked(self, real: str) -> bool:
        """True if the contents of a folder are found without following this link to it."""
        on_the_way = (real, *map(str, PurePath(real).parents))
        if any(place in self.followed for place in on_the_way):
            return True
        return self._real in on_the_way and self._may_hold(real, self._real)

    def _may_hold(self, folder: str, root: str) -> bool:
        return self._include.may_hold(f"{folder}/"[len(root.rstrip("/")) + 1 :])


def _number(folder: str) -> tuple[int, int] | None:
    """Device and inode, which identify a folder under all of its names; None if it cannot be reached."""
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _file(path: str) -> Found | None:
    """A file or a broken link; None for a folder and anything else that is not a file."""
    # Names that are not UTF-8 do not fit into a string column; escaped, they at least get a row.
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        found = os.stat(path)  # noqa: PTH116  # Creating a Path for each would take longer than the walk.
    except OSError:
        return Found(uri, None, None, None, path)
    if not stat.S_ISREG(found.st_mode):
        return None
    return Found(uri, local_version(found), found.st_size, found.st_mtime_ns // 1000, path)
