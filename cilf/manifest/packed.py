"""Images in tars, of WebDataset or others, and in Parquet files with a column of images, as manifests.

In a tar only the headers of its members are read, which in a store takes a request of 1 MB at each of them, and of a
Parquet file only the number of rows.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.column_types import has_bytes, is_bytes
from cilf.errors import UsageError
from cilf.images.packed import DAMAGED, member_uri, packed_url, row_uri
from cilf.manifest.failures import told
from cilf.manifest.formats import TABLE_ROWS
from cilf.manifest.ids import UNIDENTIFIED
from cilf.manifest.members import Entry, entry, followed
from cilf.manifest.reading import UNREADABLE, Manifest, ManifestFile, manifest_files, version
from cilf.storage import Location

_BESIDE = (
    *(".json", ".jsonl", ".txt", ".caption", ".cls", ".cls2", ".id", ".index", ".inx", ".csv", ".tsv", ".xml", ".yaml"),
    *(".yml", ".npy", ".npz", ".pt", ".pth", ".pyd", ".pkl", ".pickle", ".ten", ".tb", ".mp", ".msg", ".msgpack"),
)
"""Endings of the files that WebDataset stores next to an image, under its name: labels, captions, embeddings."""

_IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "jpeg", "png", "webp", "image_bytes")

_AHEAD = 16  # tars to read at once: with one request after another, a store only gives a few MB/s
_BLOCK = 1 << 20  # bytes of a request at a header: they contain the headers of several small images
_LARGEST_HEADER, _LARGEST = 1 << 20, 1 << 60  # bytes; a tar that claims more is damaged or malicious

_Unopened = (PermissionError, FileNotFoundError, IsADirectoryError)
"""Errors that concern one file only, unlike a store that does not answer."""


def open_packed(source: Location) -> Manifest | None:
    """The objects in a tar, in a Parquet file with images, or in several (`folder/*.tar`, `folder/*.parquet`); None
    if it is neither.

    A Parquet file holds images if it has no column `uri`, and has a column of encoded bytes named `image` or the like,
    or one of structs with the field `bytes`, as Hugging Face writes them. Other columns and files are not carried
    through to the labels. If a file changes, all of its objects are new ones; a file that is damaged or cannot be
    opened is an object itself.

    Raises:
        UsageError: there is no such file, or the store cannot be read.
    """
    if is_tar(source):
        files = manifest_files(source)
        indexed = _Ahead([partial(_members, file) for file in files])
        return Manifest(version(files), [], [partial(indexed.part, number) for number in range(len(files))])
    if not source.path.lower().endswith(".parquet"):
        return None
    files = manifest_files(source)
    columns = _image_columns(files)
    if columns is None:
        return None
    return Manifest(version(files), [], [partial(_rows, *one) for one in zip(files, columns, strict=True)])


def is_tar(source: Location) -> bool:
    """True if this is a tar, or several, by its name. A folder with such a name is a folder.

    Raises:
        UsageError: the store cannot be reached.
    """
    with told("cannot read INPUT", source):
        return source.path.lower().endswith(".tar") and not source.fs.isdir(source.path)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AHEAD, thread_name_prefix="tars")


class _Ahead:
    """Parts of a manifest; while one is used, threads read the next ones."""

    def __init__(self, parts: Sequence[Callable[[], pa.Table]]) -> None:
        self._parts = parts
        self._begun: dict[int, Future[pa.Table]] = {}

    def part(self, number: int) -> Iterator[pa.Table]:
        """One part."""
        for following in range(number, min(number + _AHEAD, len(self._parts))):
            if following not in self._begun:
                self._begun[following] = _threads().submit(self._parts[following])
        yield self._begun.pop(number).result()


class _Headers:
    """A tar of which only headers are read. A header that claims the length of the tar is refused, as it would be read
    into memory."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self.seek, self.tell = opened.seek, opened.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError("a header that is too long")
        return self._opened.read(size)


def _members(tar: ManifestFile) -> pa.Table:
    """The members of a tar, without the files that WebDataset stores next to images. Links are replaced by their
    targets.

    If a tar is damaged, there are rows for the members before the damage, and one for the tar itself.
    """
    found: list[Entry] = []
    damaged = False
    with told(UNREADABLE, tar.place):
        try:
            with tar.place.fs.open(tar.place.path, "rb", block_size=_BLOCK) as opened:
                found.extend(_contents(_Headers(opened)))
        except (*DAMAGED, *_Unopened):
            damaged = True
    images = [entry for entry in followed(found) if not entry.name.lower().endswith(_BESIDE)]
    uris = [member_uri(tar.place.url, entry.start, entry.stored, entry.name, entry.headers) for entry in images]
    sizes: list[int | None] = [entry.size for entry in images]
    if damaged:
        uris, sizes = [*uris, packed_url("tar", tar.place.url)], [*sizes, None]
    return _table(tar, uris, sizes)


def _contents(opened: _Headers) -> Iterator[Entry]:
    """The files and links in a tar.

    Raises:
        one of DAMAGED: the tar is damaged after the last one.
    """
    start: int | None = 0
    while start is not None:  # Several tars may be concatenated.
        opened.seek(start)
        archive, behind = tarfile.open(fileobj=opened, mode="r:"), start  # type: ignore[call-overload]  # noqa: SIM115
        while member := archive.next():
            archive.members = []  # or it would keep all of them in memory
            if archive.offset <= behind or not 0 <= member.size < _LARGEST:  # a negative size would loop forever
                raise tarfile.ReadError("an impossible size")
            behind = archive.offset
            if member.isreg() or member.islnk() or member.issym():
                yield entry(member, behind)
        start = _behind_zeros(opened, archive.offset)


def _behind_zeros(opened: _Headers, start: int) -> int | None:
    """The position of the next data after the zeros that end a tar; None if there is none."""
    opened.seek(start)
    if any(block := opened.read(tarfile.BLOCKSIZE)) or not block:
        raise tarfile.ReadError("no member and no end")
    while data := opened.read(_LARGEST_HEADER):
        if left := len(data.lstrip(b"\0")):
            behind = opened.tell() - left
            return behind - behind % tarfile.BLOCKSIZE
    return None


def _image_columns(files: Sequence[ManifestFile]) -> list[str | None] | None:
    """The column of images in each file, None for a file that cannot be opened. None instead of a list if the first
    intact file has no images, or has a column `uri`.

    Raises:
        UsageError: a later intact file has no images, or has a column `uri`.
    """
    first = next((file for file in files if _schema(file)), None)
    wanted = _image_column(_schema(first)) if first else None
    if first is None or wanted is None:
        return None
    with ThreadPoolExecutor(_AHEAD) as threads:
        schemas = list(threads.map(_schema, files))
    found = [_image_column(columns, wanted) if columns else None for columns in schemas]
    for file, columns, column in zip(files, schemas, found, strict=True):
        if columns and column is None:
            raise UsageError(
                f"{file.place.url} and {first.place.url} differ: only the latter has a column of images, `{wanted}`, "
                f"and no column `uri` (columns of the former: {', '.join(columns.names)[:200]}); label them separately"
            )
    return found


def _schema(file: ManifestFile) -> pa.Schema | None:
    return _read(file, pq.read_schema)


def _read(parquet: ManifestFile, read: Callable[[IO[bytes]], Any]) -> Any:
    """The result of `read` for a Parquet file; None if it cannot be opened."""
    place = parquet.place
    with told(UNREADABLE, place), suppress(pa.ArrowException, *_Unopened), place.fs.open(place.path, "rb") as opened:
        return read(opened)
    return None


def _image_column(columns: pa.Schema, wanted: str = "image") -> str | None:
    """The column of images: `wanted`, or else `image` or the only one; None if there is none, or a column `uri`."""
    found = [field.name for field in columns if _holds_images(field)]
    if "uri" in columns.names:
        return None
    if wanted in found or (wanted in columns.names and pa.types.is_null(columns.field(wanted).type)):
        return wanted
    return "image" if "image" in found else found[0] if len(found) == 1 else None


def _holds_images(field: pa.Field) -> bool:
    return has_bytes(field.type) or (field.name.lower() in _IMAGE_COLUMNS and is_bytes(field.type))


def _rows(parquet: ManifestFile, column: str | None) -> Iterator[pa.Table]:
    metadata = _read(parquet, pq.read_metadata)
    if metadata is None or column is None:
        yield _table(parquet, [packed_url("parquet", parquet.place.url)], [None])
        return
    for first in range(0, metadata.num_rows, TABLE_ROWS):
        numbers = range(first, min(first + TABLE_ROWS, metadata.num_rows))
        uris = [row_uri(parquet.place.url, number, column) for number in numbers]
        yield _table(parquet, uris, [None] * len(uris))


def _table(file: ManifestFile, uris: list[str], sizes: Sequence[int | None]) -> pa.Table:
    # Names that are not UTF-8 do not fit into a string column; escaped, they at least get a row.
    names = [uri.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for uri in uris]
    columns = [names, [file.etag] * len(uris), sizes, [file.modified] * len(uris)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, UNIDENTIFIED, strict=True)]
    return pa.table(arrays, schema=UNIDENTIFIED)
