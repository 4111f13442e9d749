"""Finds the images below a folder, also by the names that lists give them."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from cilf.datasets.labels import Collector, Problem, Reason
from cilf.errors import UsageError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".webp")


class ImageFolder:
    """All images below a folder, and its other files, such as lists.

    Args:
        root: the folder.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: expected a data set")
        self.root = root
        self.paths: list[str] = []
        """Paths of the images relative to the root, with "/", sorted, without images that have problems."""
        self.problems: list[Problem] = []
        """Files and folders that cannot be read or named."""
        self.folders: list[str] = []
        """Names of the folders directly below the root, sorted, without hidden ones."""
        self._others: list[Path] = []
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._asked: set[str] = set()
        for folder, below, names in os.walk(root, onerror=self._closed):
            for name in names:
                if not name.startswith("."):
                    self._take(Path(folder, name))
            if folder == str(root):
                self.folders = sorted(_shown(name) for name in below if not name.startswith("."))
        self.paths.sort()
        for path in self.paths:
            self._by_name[_last(_folded(path))].append(path)
        self._broken = {_last(_folded(problem.path)) for problem in self.problems}

    def _closed(self, error: OSError) -> None:
        path = os.path.relpath(error.filename, self.root)
        if path == ".":
            raise UsageError(f"cannot read {self.root}: {error.strerror}") from error
        self.problems.append(Problem(_shown(path), Reason.UNREADABLE, error.strerror or ""))

    def _take(self, file: Path) -> None:
        if file.suffix.lower() not in _SUFFIXES:
            self._others.append(file)
            return
        path = file.relative_to(self.root).as_posix()
        shown = _shown(path)
        if shown != path:
            self.problems.append(Problem(shown, Reason.NOT_UTF8))
            return
        try:
            wrong = None if file.stat().st_size else "empty"
        except OSError as error:
            wrong = error.strerror or "unknown"
        if wrong:
            self.problems.append(Problem(path, Reason.UNREADABLE, wrong))
        else:
            self.paths.append(path)

    def find(self, name: str) -> str | None:
        """The image whose path ends with `name`, ignoring case and Unicode form; None if there is none.

        An image that matches exactly is preferred.
        """
        wanted = _plain(name)
        folded = _folded(wanted)
        fitting = [path for path in self._by_name.get(_last(folded), []) if f"/{_folded(path)}".endswith(f"/{folded}")]
        exact = (path for path in fitting if f"/{path}".endswith(f"/{wanted}"))
        found = next(exact, fitting[0] if fitting else None)
        if found:
            self._asked.add(found)
        return found

    def missing(self, name: str, collector: Collector) -> None:
        """Record an image that could not be found, unless it is already recorded as unreadable."""
        if _last(_folded(_plain(name))) not in self._broken:
            collector.problem(name, Reason.MISSING)

    def unlisted(self) -> Iterator[str]:
        """The images that `find` has not returned."""
        return (path for path in self.paths if path not in self._asked)

    def distinct(self, collector: Collector) -> Iterator[str]:
        """Yields the first image of each file name, and records the others as duplicates."""
        for same in self._by_name.values():
            yield same[0]
            for path in same[1:]:
                collector.problem(path, Reason.DUPLICATE, f"same file name as {same[0]}")

    def lists(self, pattern: str) -> list[Path]:
        """The files other than images whose names match a glob, ignoring case, topmost first."""
        fitting = [file for file in self._others if fnmatch(file.name.lower(), pattern)]
        return sorted(fitting, key=lambda file: (len(file.parts), file))

    def refusal(self, title: str, expected: str) -> UsageError:
        """The error for a folder that is not the expected data set."""
        there = sorted(entry.name for entry in self.root.iterdir())
        some = ", ".join(_shown(name) for name in there[:5]) + (", ..." if there[5:] else "")
        return UsageError(
            f"{self.root} is not {title}: expected {expected}; found {len(self.paths):,} images, and at the top level "
            f"{some or 'nothing'}"
        )


def _shown(path: str) -> str:
    """A path in which bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _folded(path: str) -> str:
    """A form that is equal for names that differ only in case, or in whether accents are separate characters."""
    return unicodedata.normalize("NFC", path).casefold()


def _plain(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


def _last(path: str) -> str:
    return path.rpartition("/")[2]
