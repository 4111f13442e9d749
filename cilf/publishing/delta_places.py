"""Where a Delta table is, as the Delta library takes it, and whether it can be reached."""

from __future__ import annotations

import os
import re

from cilf.errors import UsageError
from cilf.storage import Location, problem

_MISTAKEN = re.compile(r"[\x00-\x1f\x7f\[\]\\^|]|%[0-9A-Fa-f]{2}|[\ud800-\udfff]")
"""What the library looks for elsewhere, or ends the process for."""


def uri(place: Location) -> str:
    """A place as the library takes it.

    Raises:
        UsageError: it would take it for another place, or for none.
    """
    if found := _MISTAKEN.search(place.url):
        raise UsageError(
            f"a Delta table cannot be at {place.url!r}: the Delta library does not find {found[0]!r} in a path again; "
            "choose one without [ ] ^ | \\, control characters and % before two hexadecimal digits"
        )
    if place.scheme == "file":
        return place.path
    if {"", ".", ".."}.intersection(place.path.split("/")):
        raise UsageError(f"a Delta table cannot be at {place.url}: its path has an empty part, or a part . or ..")
    return place.url.replace("#", "%23").replace("?", "%3F")


def settings(place: Location) -> dict[str, str]:
    """What the library has to be told of a store, and does not find where the usual AWS variables are."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return {"AWS_ALLOW_HTTP": "true"} if place.scheme == "s3" and endpoint.startswith("http://") else {}


def check_reachable(place: Location) -> None:
    """Make sure that a store answers, and that a bucket is there; the library itself says less clearly what is wrong.

    Raises:
        UsageError: it does not, or is not.
    """
    if place.scheme == "file":
        return
    bucket = place.path.partition("/")[0]
    try:
        try:
            place.fs.ls(place.path)
        except FileNotFoundError:  # of a folder or of the bucket
            place.fs.ls(bucket)
    except Exception as error:
        raise UsageError(f"cannot open the Delta table: {problem(error, place.url)}") from error
