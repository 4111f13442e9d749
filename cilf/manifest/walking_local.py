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
    """Where a walk that ended here goes on."""


class LocalWalk:
    """Every file below a folder, whatever its name; or the one file that `root` is.

    Links are followed. A folder to which several ways lead counts once: below `root` under its own name, elsewhere
    under that of the first link to it or to a folder above it. A link that leads nowhere is an object that will be
    `missing`. The file system gives no etag: size and time of change, in nanoseconds, stand for it, so that a changed
    file is labelled again.

    Args:
        root: a path.
        followed: what `followed` was where the walk stopped that this one goes on with.
        include: folders that cannot hold what it lets through are not looked into.
        say: is told of each folder that cannot be read.
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
        """Where the links lead that have been followed."""
        self._numbers = {_number(folder) for folder in (root, *followed)} - {None}
        """Device and inode of the root and of these folders: a mount may lead to them by another path."""

    def files(self, after: str | None) -> Iterator[Found]:
        """Those that come behind the path `after`, in the order of their names, folder by folder.

        Raises:
            OSError: the root cannot be read.
        """
        if os.path.isdir(self._root):  # noqa: PTH112
            begun = [] if after is None else after[len(self._root) :].lstrip("/").split("/")
            yield from self._below(self._root, self._real, begun)
        elif after is None:
            os.stat(self._root)  # noqa: PTH116  # What cannot be reached is no object.
            yield from filter(None, [_file(self._root)])

    def _below(self, folder: str, real: str, begun: list[str]) -> Iterator[Found]:
        """Files below a folder, which without links is `real`; with `begun`, the names on the way to one of them, those
        behind that one."""
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
        """Names in order, and whether each is a folder itself; empty where the folder cannot be read or has gone."""
        try:
            with os.scandir(folder) as entries:
                # All names at once, but no more of an entry than is needed: folders of millions are common.
                return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            os.scandir(self._root).close()  # Should all of it be gone, a listing would pass for complete.
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
        """Whether what is in a folder is found without another link to it."""
        on_the_way = (real, *map(str, PurePath(real).parents))
        if any(place in self.followed for place in on_the_way):
            return True
        return self._real in on_the_way and self._may_hold(real, self._real)

    def _may_hold(self, folder: str, root: str) -> bool:
        return self._include.may_hold(f"{folder}/"[len(root.rstrip("/")) + 1 :])


def _number(folder: str) -> tuple[int, int] | None:
    """What a folder is known by under all of its names; None where it cannot be reached."""
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _file(path: str) -> Found | None:
    """A file, or a link that leads nowhere; None for a folder and for what is no file."""
    # Names that are no UTF-8 cannot be a string column; escaped they at least get their row.
    uri = os.fsencode(path).decode("utf-8", "backslashreplace")
    try:
        found = os.stat(path)  # noqa: PTH116  # A Path for each would take longer than the walk.
    except OSError:
        return Found(uri, None, None, None, path)
    if not stat.S_ISREG(found.st_mode):
        return None
    return Found(uri, local_version(found), found.st_size, found.st_mtime_ns // 1000, path)
