"""URLs and paths, as people and other programs write them, handled as text only: nothing is opened here."""

from __future__ import annotations

import re

from cilf.errors import UsageError

KNOWN = "a plain path, file://, s3:// and gs://"
_SCHEME = re.compile(r"((?:tar\+|parquet\+)?)([A-Za-z][A-Za-z0-9+.-]*)://", re.IGNORECASE)
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_LOCAL = re.compile(r"file:/", re.IGNORECASE)
_FILE_HOST = re.compile(r"file://(?!/|localhost/)", re.IGNORECASE)
_ONE_SLASH = re.compile(r"(s3[an]?|gs|hdfs|dbfs|abfss?|wasbs?):/(?!/)|data:image/", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def split(url: str) -> tuple[str, str]:
    """A URL or path -> (scheme, path), with nothing decoded. A plain path has the scheme `file`.

    Hadoop's s3a:// and s3n:// are s3://, as Spark and Databricks write them, gcs:// is gs://, and file:/path is a path.
    """
    found = _SCHEME.match(url)
    if found is None and url[:1].isspace() and _SCHEME.match(url.lstrip()):
        return split(url.strip())  # A path may begin with blanks, but what is a URL without them is meant as one.
    if found is None:
        local = _LOCAL.match(url)
        return "file", url[local.end() - 1 :] if local else url
    packing, scheme, path = found[1].lower(), found[2].lower(), url[found.end() :]
    if scheme == "file":
        path = re.sub("^localhost/", "/", path, flags=re.IGNORECASE)
    return packing + _ALIASES.get(scheme, scheme), path


def check_local(url: str) -> None:
    """Make sure that a text that is not the URL of a store is a path on this machine.

    Raises:
        UsageError: it is not.
    """
    if _WINDOWS.match(url):
        raise UsageError(f"{url} is a Windows path: expected a path on this machine, such as /data/photos")
    if _FILE_HOST.match(url):
        raise UsageError(f"{url} names another machine: expected file:///path")
    if _ONE_SLASH.match(url):
        raise UsageError(f"{url[:80]} cannot be opened (known: {KNOWN})")
