"""Where a Delta table is, as the Delta library takes it."""

from __future__ import annotations

import re

from cilf.errors import UsageError
from cilf.publishing.s3 import s3_settings
from cilf.storage import Location

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
    """What the library has to be told of a store."""
    if place.scheme != "s3":
        return {}
    found = s3_settings()
    named = {"AWS_ENDPOINT_URL": found.endpoint, "AWS_REGION": found.region}
    if found.endpoint and found.endpoint.startswith("http://"):
        named["AWS_ALLOW_HTTP"] = "true"
    if found.keys:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        named |= dict(zip(names, found.keys, strict=True))
    return {name: value for name, value in named.items() if value}
