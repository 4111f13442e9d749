"""The members of a tar: the position of each, and the targets of links."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cilf.images.packed import LARGEST_HEADERS

_LINKS_IN_A_ROW = 40  # as in Linux


@dataclass(frozen=True)
class Entry:
    """A file in a tar, or a link."""

    name: str
    start: int
    """Offset of its data, bytes."""
    stored: int
    """Bytes that it takes in the tar."""
    size: int
    """Bytes that it has when it is unpacked."""
    headers: int | None = None
    """See cilf.images.packed.Member."""
    link: str | None = None
    """Name of the link's target; None for a file."""


def entry(member: tarfile.TarInfo, behind: int) -> Entry:
    """Describe a member; the next one starts at `behind`.

    Raises:
        tarfile.ReadError: its headers are impossibly long.
    """
    place = member.offset_data
    if member.islnk():
        return Entry(member.name, place, 0, 0, link=_plain(member.linkname))
    if member.issym():
        return Entry(member.name, place, 0, 0, link=_plain(_beside(member.name, member.linkname)))
    if not member.issparse() and "size" not in member.pax_headers:
        return Entry(member.name, place, member.size, member.size)
    if place - member.offset > LARGEST_HEADERS:
        raise tarfile.ReadError("headers that are too long")
    return Entry(member.name, place, behind - place, member.size, headers=place - member.offset)


def followed(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, with each link replaced by its target, under the link's name.

    A link to a folder is left out, as the files in the folder are entries themselves. A link without a target remains a
    link of zero bytes.
    """
    ordered = list(entries)
    files = {_plain(found.name): found for found in ordered if found.link is None}
    links = {_plain(found.name): found.link for found in ordered if found.link is not None}
    folders = {above for name in (*files, *links) for above in _above(name)} if links else set()
    for found in ordered:
        if found.link is None:
            yield found
        elif (target := _target(found.link, links)) in files:
            yield replace(files[target], name=found.name)
        elif target not in folders:
            yield found


def _target(name: str, links: dict[str, str]) -> str:
    """The name that a name leads to, through links at itself or at folders above it."""
    for _ in range(_LINKS_IN_A_ROW):
        above = next((place for place in (*_above(name), name) if place in links), None)
        if above is None:
            break
        name = _plain(links[above] + name[len(above) :])
    return name


def _above(name: str) -> Iterator[str]:
    """The folders above a name, outermost first."""
    return (name[:place] for place, character in enumerate(name) if character == "/" and place)


def _beside(name: str, target: str) -> str:
    return posixpath.join(posixpath.dirname(name), target)


def _plain(name: str) -> str:
    return posixpath.normpath(name)
