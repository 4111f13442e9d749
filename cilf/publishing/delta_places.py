"""Locations of Delta tables, in the form that the Delta library takes."""

from __future__ import annotations

import re
from pathlib import Path

from cilf.errors import UsageError
from cilf.publishing.s3 import s3_settings
from cilf.storage import CHECKING, Location, lies_inside, locate, problem

_MISTAKEN = re.compile(r"[\x00-\x1f\x7f\[\]\\^|]|%[0-9A-Fa-f]{2}|[\ud800-\udfff]")
"""Parts of a path that make the library look elsewhere, or end the process."""


_LEFT_BEHIND = re.compile("_delta_log|model=.*")
"""Names of what the writer leaves in a folder if it is killed before its first commit."""


def table_place(name: str, output: str) -> Location:
    """The location that a user has named.

    Raises:
        UsageError: the name is empty, or the table would lie where the labels of OUTPUT are.
    """
    if not name.strip():
        raise UsageError("the name of the Delta table is empty: expected its folder or URL")
    place, of = locate(name, CHECKING), locate(output, CHECKING)
    if lies_inside(place, of / "labels"):
        raise UsageError(f"the Delta table {place.url} would lie among the labels of {output}: choose another place")
    if lies_inside(place, of) and lies_inside(of, place):
        raise UsageError(f"the Delta table {place.url} would lie in OUTPUT itself: choose another place")
    return place


def check_free(place: Location) -> None:
    """Make sure that a local folder for a new table holds nothing else.

    Raises:
        UsageError: it holds something else, or it cannot be listed.
    """
    if place.scheme != "file":
        return
    try:
        names = sorted(entry.name for entry in Path(place.path).iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot make a Delta table: {problem(error, place.url)}") from error
    if others := [name for name in names if not _LEFT_BEHIND.fullmatch(name)]:
        raise UsageError(
            f"{place.url} is not empty and is not a Delta table (it holds {others[0]!r}): choose a new or empty folder"
        )


def uri(place: Location) -> str:
    """A location in the form that the library takes.

    Raises:
        UsageError: the library would take it for another location, or for none.
    """
    if found := _MISTAKEN.search(place.url):
        raise UsageError(
            f"a Delta table cannot be at {place.url!r}: the Delta library does not handle {found[0]!r} in a path; "
            "choose one without [ ] ^ | \\, control characters and % before two hexadecimal digits"
        )
    if place.scheme == "file":
        return place.path
    if {"", ".", ".."}.intersection(place.path.split("/")):
        raise UsageError(f"a Delta table cannot be at {place.url}: its path has an empty part, or a part . or ..")
    return place.url.replace("#", "%23").replace("?", "%3F")


def settings(place: Location) -> dict[str, str]:
    """The library's options for a store."""
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
