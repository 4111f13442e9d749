"""Normal form of the URIs of manifests and labels: one name per object, however it was written."""

from __future__ import annotations

import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cilf.errors import UsageError
from cilf.storage import Location, filesystem
from cilf.urls import check_local, split

_PLAIN = r"(?s)^(/|((tar|parquet)\+)?(s3|gs)://[^/]+/.|(tar|parquet)\+file:///)"
"""URIs that stay as they are, unless _ROUNDABOUT matches."""
_ROUNDABOUT = r"(?s)^/(.*/)?\.{0,2}(/|$)"
"""Paths on this machine with `//`, `.` or `..`, or a slash at the end."""


def absolute(uris: pa.Array, folder: Location) -> pa.Array:
    """Paths and URLs in normal form, string [N]; relative paths are relative to `folder`.

    Each object has one name: s3a:// becomes s3://, file:// becomes a path, and paths have no `.`, `..` or `//`. Keys in
    a store may have them, and keep them.

    Raises:
        UsageError: one is null or empty, cannot be opened here, names no object, or leads out of a bucket.
    """
    if uris.null_count or pc.any(pc.equal(uris, "")).as_py():
        raise UsageError("the manifest has a row without a uri")
    if pc.any(pc.match_substring_regex(uris, r"^((tar|parquet)\+)?gs://")).as_py():
        filesystem("gs")
    plain = pc.match_substring_regex(uris, _PLAIN)
    odd = pc.or_(pc.invert(plain), pc.match_substring_regex(uris, _ROUNDABOUT))
    if not pc.any(odd).as_py():
        return uris
    whole = [_whole(uri, folder) for uri in uris.filter(odd).to_pylist()]
    return pc.replace_with_mask(uris, odd, pa.array(whole, pa.string()))


def _whole(uri: str, folder: Location) -> str:
    scheme, path = split(uri)
    try:
        if scheme == "file":
            check_local(uri.strip())
        else:
            filesystem(scheme.rpartition("+")[2])
    except UsageError as error:
        raise UsageError(f"cannot read the uri {uri[:200]}: {error}") from error
    if scheme == "file":
        return _direct(path) if path.startswith("/") else _below(folder, path)
    bucket, _, key = path.partition("/")
    if not scheme.endswith("file") and not (bucket and key):
        raise UsageError(f"the uri {uri} names no object: expected {scheme}://bucket/key")
    return f"{scheme}://{path}"


def _direct(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")  # normpath keeps two slashes at the beginning.


def _below(folder: Location, path: str) -> str:
    if folder.scheme == "file":
        return _direct((folder / path).path)
    bucket, *above = folder.path.split("/")
    for name in path.split("/"):  # All names other than `..` and `.` belong to the key, even empty ones.
        if name == ".." and not above:
            raise UsageError(f"the uri {path} leads out of the bucket {bucket}")
        if name == "..":
            above.pop()
        elif name != ".":
            above.append(name)
    return replace(folder, path="/".join([bucket, *above])).url
