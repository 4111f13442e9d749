"""Identifies the version of an object that was read: its ETag, or for a local file its size and modification time."""

from __future__ import annotations

import os
import re
from typing import Any

from fsspec.implementations.local import LocalFileOpener

_LOCAL = re.compile(r"[0-9a-f]{1,16}--?[0-9a-f]{14,16}")
"""Matches `local_version` for all modification times after the first weeks of 1970. ETags of other origin, such as a
web server's size and time in seconds or microseconds, or S3's of a multipart object, have fewer digits at the end."""


class Changed(Exception):
    """The object that was read is not the requested version."""


def local_version(found: os.stat_result) -> str:
    """The etag that this package gives a local file."""
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def check_etag(wanted: str | None, found: str | None) -> None:
    """Compare an etag, with or without quotes, with the etag of a store's response. If one is not known, any version is
    accepted.

    Raises:
        Changed: they differ.
    """
    if wanted and found and _bare(wanted) != _bare(found):
        raise Changed


def check_local(wanted: str | None, found: os.stat_result) -> None:
    """Compare an etag with a local file. An etag that is not from `local_version`, as in a manifest of files that were
    copied from a store, cannot be compared and is accepted.

    Raises:
        Changed: they differ.
    """
    if wanted and wanted != (version := local_version(found)) and _LOCAL.fullmatch(wanted):
        raise Changed(version)


def check_opened(wanted: str | None, opened: Any) -> None:
    """Compare an etag with a file that fsspec has opened.

    Raises:
        Changed: they differ.
    """
    if isinstance(opened, LocalFileOpener):
        check_local(wanted, os.fstat(opened.fileno()))
    else:
        details = getattr(opened, "details", None) or {}
        check_etag(wanted, details.get("ETag") or details.get("etag"))


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
