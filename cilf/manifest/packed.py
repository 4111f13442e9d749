"""What is in tars, WebDataset's or others, and in Parquet files with a column of images, as manifests.

Of a tar only the headers of its members are read, and of a Parquet file how many rows it has.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.errors import UsageError
from cilf.images.packed import member_uri, row_uri
from cilf.manifest.failures import told
from cilf.manifest.ids import UNIDENTIFIED
from cilf.manifest.reading import TABLE_ROWS, UNREADABLE, Manifest, ManifestFile, manifest_files, version
from cilf.storage import Location

# WebDataset has what belongs to an image beside it, under the image's name: labels, captions, embeddings.
_IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".pbm", ".pgm", ".pnm", ".ppm"),
)

_AHEAD = 16  # tars that are read at once: a store answers one request after another with a few MB/s only
_BLOCK = 1 << 20  # bytes that a store is asked for where a header stands: of small images several have theirs there


def open_packed(source: Location) -> Manifest | None:
    """The objects in a tar, in a Parquet file with images, or in several (`folder/*.tar`, `folder/*.parquet`); None
    where it is neither.

    A Parquet file holds images if it has no column `uri` and a column `image`, or just one, of encoded bytes or of
    structs with the field `bytes`, as Hugging Face writes them. Nothing else goes through to the labels. A file that
    changes makes all of its objects new ones.

    Raises:
        UsageError: there is no such file, or the store cannot be read; and while the parts are read, a Parquet file
            without that column.
    """
    if is_tar(source):
        files = manifest_files(source)
        indexed = _Ahead([partial(_members, file) for file in files])
        return Manifest(version(files), [], [partial(indexed.part, number) for number in range(len(files))])
    if not source.path.lower().endswith(".parquet"):
        return None
    files = manifest_files(source)
    column = _image_column(files[0].place)
    return Manifest(version(files), [], [partial(_rows, file, column) for file in files]) if column else None


def is_tar(source: Location) -> bool:
    """Whether this is a tar, or several, by name. A folder with such a name is a folder.

    Raises:
        UsageError: the store cannot be reached.
    """
    with told("cannot read INPUT", source):
        return source.path.lower().endswith(".tar") and not source.fs.isdir(source.path)


class _Ahead:
    """Parts of a manifest, of which some threads make the next ones while the last is worked at."""

    def __init__(self, parts: Sequence[Callable[[], pa.Table]]) -> None:
        self._parts = parts
        self._threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="tars")
        self._begun: dict[int, Future[pa.Table]] = {}

    def part(self, number: int) -> Iterator[pa.Table]:
        """One part."""
        for following in range(number, min(number + _AHEAD, len(self._parts))):
            if following not in self._begun:
                self._begun[following] = self._threads.submit(self._parts[following])
        yield self._begun.pop(number).result()


def _members(tar: ManifestFile) -> pa.Table:
    """The images in a tar, and files whose names say nothing of what they are.

    Of a tar that is damaged somewhere there are those before that place, and a row for the tar itself.
    """
    uris: list[str] = []
    sizes: list[int | None] = []
    with told(UNREADABLE, tar.place), tar.place.fs.open(tar.place.path, "rb", block_size=_BLOCK) as opened:
        try:
            with tarfile.open(fileobj=opened, mode="r:", errorlevel=2) as archive:
                behind = 0
                while member := archive.next():
                    if archive.offset <= behind:  # A negative size would lead in circles.
                        raise tarfile.ReadError
                    behind = archive.offset
                    archive.members = []  # type: ignore[attr-defined]  # or it would keep all of them
                    if member.isreg() and not member.sparse and _is_image(member.name):
                        uris.append(member_uri(tar.place.url, member.offset_data, member.size, member.name))
                        sizes.append(member.size)
                # Behind the last member there are zeros or nothing. It takes anything else for the end, too.
                opened.seek(archive.offset)
                whole = not any(opened.read(tarfile.BLOCKSIZE))
        except (tarfile.TarError, ValueError, RecursionError):
            whole = False
    if not whole:
        uris.append(tar.place.url)
        sizes.append(None)
    return _table(tar, uris, sizes)


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES) or "." not in name.rpartition("/")[2]


def _image_column(parquet: Location) -> str | None:
    """The column that holds images; None where there is none, or a manifest's `uri`."""
    with told(UNREADABLE, parquet), parquet.fs.open(parquet.path, "rb") as opened:
        columns = pq.read_schema(opened)
    found = [field.name for field in columns if _holds_bytes(field.type)]
    if "uri" in columns.names:
        return None
    return "image" if "image" in found else found[0] if len(found) == 1 else None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _rows(parquet: ManifestFile, column: str) -> Iterator[pa.Table]:
    with told(UNREADABLE, parquet.place), parquet.place.fs.open(parquet.place.path, "rb") as opened:
        metadata = pq.read_metadata(opened)
        if column not in metadata.schema.to_arrow_schema().names:
            raise UsageError(f"the Parquet files differ: {parquet.place.url} has no column {column}")
    for first in range(0, metadata.num_rows, TABLE_ROWS):
        numbers = range(first, min(first + TABLE_ROWS, metadata.num_rows))
        uris = [row_uri(parquet.place.url, number, column) for number in numbers]
        yield _table(parquet, uris, [None] * len(uris))


def _table(file: ManifestFile, uris: list[str], sizes: Sequence[int | None]) -> pa.Table:
    # Names that are no UTF-8 cannot be a string column; escaped they at least get their row.
    names = [uri.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for uri in uris]
    columns = [names, [file.etag] * len(uris), sizes, [file.modified] * len(uris)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, UNIDENTIFIED, strict=True)]
    return pa.table(arrays, schema=UNIDENTIFIED)
