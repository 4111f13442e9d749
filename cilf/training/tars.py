"""Reads WebDataset tars: images and JSON files of the same name. Each member becomes a row, or a row with an error.

An image and its labels have the same path up to the last dot: `a/22.05.JPG` and `a/22.05.json`. WebDataset cuts at the
first dot of the name, which would cut off the date of photographs that are named after dates.
"""

from __future__ import annotations

import gzip
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import IO, Any, cast

from cilf.datasets.identifiers import identifier
from cilf.storage import Location
from cilf.training.lists import json_labels
from cilf.training.raw import NOTHING, Row, wanted

_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")
_MAX_BYTES = 100_000_000
_GZIP = b"\x1f\x8b"
_DAMAGES = (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, RecursionError)


def tar_rows(file: Location, split: str | None, with_images: bool = True, given: Row = NOTHING) -> Iterator[Row]:
    """The rows of a split, and all rows with an error, whose split may be unknown; grouped by key.

    Args:
        with_images: False does not read the images.
        given: labels of all images; those in an image's JSON take precedence.
    """
    with _opened(file) as opened:
        samples, damage = _samples(opened)
        for key, sample in samples.items():
            for image, found in _pairs(key, sample):
                labels = {**given, **found}
                if split is not None and identifier(labels.get("split")) is None:
                    labels.setdefault("wrong", f"no split: its labels must have {split!r} or another split")
                if "wrong" in labels or wanted(labels, split):
                    yield _with_image(labels, image) if with_images else labels
        if damage:
            yield {"id": file.url, "wrong": damage}


@dataclass(frozen=True)
class _Member:
    tar: tarfile.TarFile
    info: tarfile.TarInfo

    @property
    def name(self) -> str:
        return self.info.name

    def read(self) -> tuple[bytes | None, str | None]:
        """The member's bytes, or the reason why they cannot be read."""
        if self.info.size > _MAX_BYTES:
            return None, f"too_large: {self.name} has {self.info.size:,} bytes"
        try:
            opened = self.tar.extractfile(self.info)
            return (None, f"{self.name} is not a file") if opened is None else (opened.read(), None)
        except KeyError:
            return None, f"{self.name} is a link to {self.info.linkname}, which is not in the tar"
        except _DAMAGES as error:
            return None, f"{self.name} cannot be read: {error}"


@dataclass
class _Sample:
    """The members with the same path up to the suffix, in the tar's order."""

    images: list[_Member] = field(default_factory=list)
    labels: list[_Member] = field(default_factory=list)
    others: list[_Member] = field(default_factory=list)

    def take(self, member: _Member, suffix: str) -> None:
        kind = self.labels if suffix == "json" else self.images if suffix in _IMAGES else self.others
        kind.append(member)


@contextmanager
def _opened(file: Location) -> Iterator[IO[bytes]]:
    with file.fs.open(file.path, "rb") as raw:
        packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw


def _samples(opened: IO[bytes]) -> tuple[dict[str, _Sample], str | None]:
    """All members except folders and macOS metadata, and the damage, if any, that hides further members."""
    found: dict[str, _Sample] = {}
    last = "its beginning"
    try:
        for member in _members(opened):
            path = last = posixpath.normpath(member.name).lstrip("/")
            folder, _, name = path.rpartition("/")
            if not (member.info.isdir() or name.startswith("._") or folder.startswith("__MACOSX")):
                stem, dot, suffix = name.rpartition(".")
                key = posixpath.join(folder, stem if dot and stem else name)
                found.setdefault(key, _Sample()).take(member, suffix.lower())
    except _DAMAGES as error:
        return found, f"the tar is damaged or truncated after {last}: {error}"
    return found, None


def _members(opened: IO[bytes]) -> Iterator[_Member]:
    """The members of a tar, or of several tars that `cat` has concatenated."""
    start: int | None = 0
    while start is not None:
        opened.seek(start)
        tar, behind = tarfile.open(fileobj=opened, mode="r:"), start  # noqa: SIM115  open while it is read
        for info in tar:
            if tar.offset <= behind:
                raise tarfile.ReadError("an impossible size")  # which would loop forever
            behind = tar.offset
            yield _Member(tar, info)
        start = _behind_zeros(opened, tar.offset)


def _behind_zeros(opened: IO[bytes], start: int) -> int | None:
    """The offset of another tar after the zeros that end one; None if there is none."""
    opened.seek(start)
    if any(block := opened.read(tarfile.BLOCKSIZE)) or not block:
        raise tarfile.ReadError("there is neither a member nor an end marker")
    while data := opened.read(1 << 20):
        if left := len(data.lstrip(b"\0")):
            behind = opened.tell() - left
            return behind - behind % tarfile.BLOCKSIZE
    return None


def _pairs(key: str, sample: _Sample) -> Iterator[tuple[_Member | None, dict[str, Any]]]:
    """Each image with its labels; if either is missing, labels with `wrong`."""
    # Any member with labels is taken for an image: the decoder recognises its format better than its name does.
    images = sample.images or (sample.others if sample.labels else [])
    for image, labels in zip_longest(images, sample.labels):
        if labels is None:
            yield image, {"id": image.name, "wrong": _no_labels(key, sample)}
            continue
        given = _labels(labels, key)
        if image is None:
            given.setdefault("wrong", f"no image: the tar has no further image called {key} for {labels.name}")
        yield image, {**given, "id": given.get("id", key)}
    if not images:
        for member in sample.others:
            yield None, {"id": member.name, "wrong": "neither an image nor labels: expected KEY.jpg and KEY.json"}


def _labels(member: _Member, key: str) -> dict[str, Any]:
    data, wrong = member.read()
    return {"wrong": wrong} if data is None else json_labels(data, key)


def _no_labels(key: str, sample: _Sample) -> str:
    if sample.labels:
        return f"no labels: {sample.labels[-1].name} belongs to another image called {key}"
    beside = " and ".join(member.name for member in sample.others)
    return f"no labels: the tar has no {key}.json" + f" but {beside}, and only JSON labels are read" * bool(beside)


def _with_image(labels: dict[str, Any], image: _Member | None) -> Row:
    if image is None or "wrong" in labels:
        return labels
    data, wrong = image.read()
    return labels | ({"image": data} if wrong is None else {"wrong": wrong})
