"""Cache folders, for files that can be downloaded or made again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cached(kind: str) -> list[Path]:
    """The folders that may hold files of this kind, best first; none of them needs to exist.

    The first is in the home directory, below ~/.cache/cilf, or where XDG_CACHE_HOME says. The second is a folder of
    this user among the temporary files, for a home directory that is missing or cannot be written to.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "cilf" / kind  # noqa: PTH111
    temporary = Path(tempfile.gettempdir()) / f"cilf-{kind}-{os.getuid()}"
    # Another user may have created it first, and put anything into it.
    is_ours = not temporary.is_symlink() and (not temporary.exists() or temporary.stat().st_uid == os.getuid())
    return [home] * home.is_absolute() + [temporary] * is_ours


def cache(kind: str) -> Path:
    """The folder for new files of this kind: the best one that can be written to, which may not exist yet.

    Raises:
        PermissionError: no folder can be written to.
    """
    for folder in cached(kind):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if os.access(there, os.W_OK | os.X_OK):
            return folder
    raise PermissionError(f"no permission to write to {' or '.join(map(str, cached(kind)))}")
