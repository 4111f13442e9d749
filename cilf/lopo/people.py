"""Reads a small set of photographs with known people, such as FG-NET, into memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf.datasets.columns import check_image_column, check_names, encoded_images
from cilf.datasets.data_files import data_files
from cilf.datasets.face_files import parquet_files
from cilf.datasets.fgnet import read as read_fgnet
from cilf.datasets.identifiers import identifier
from cilf.datasets.labels import OLDEST
from cilf.errors import UsageError
from cilf.images.fetch import FetchError, fetch
from cilf.manifest.uris import absolute
from cilf.storage import CHECKING, Location, locate, problem

_IDS = ("id", "name", "path", "uri")
_IMAGES = ("image", "uri")
_MAX_BYTES = 100_000_000

LEAST = 8
"""Minimum number of people: half of them choose the learning rate by a cross-validation with four folds."""


@dataclass(frozen=True)
class People:
    """N photographs, each of one known person."""

    ids: list[str]
    subjects_N: np.ndarray
    """object [N]: the person's id, a string."""
    ages_N: np.ndarray
    """float32 [N], years."""
    images: list[bytes]
    """The encoded images."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def subjects(self) -> list[str]:
        """The ids of all people, each once, sorted."""
        return sorted(set(self.subjects_N))

    @property
    def digest(self) -> str:
        """A hash of everything in the set that a result could depend on."""
        digest = hashlib.sha256()
        for row, image in enumerate(self.images):
            digest.update(repr((self.ids[row], self.subjects_N[row], float(self.ages_N[row]), len(image))).encode())
            digest.update(image)
        return digest.hexdigest()


def read_people(url: str) -> People:
    """Reads all photographs of FG-NET's folder, or of Parquet files with the columns subject, age, and image or uri.

    Raises:
        UsageError: no such data, a column or a label is missing, an image cannot be read, or there are too few people.
    """
    source = locate(url, CHECKING)
    people = _from_folder(Path(source.path)) if _is_folder_of_images(source) else _from_parquet(source)
    if len(people.subjects) < LEAST:
        raise UsageError(f"{url} has {len(people.subjects)} people; leaving one out needs {LEAST} or more")
    return people


def _is_folder_of_images(source: Location) -> bool:
    return (
        source.scheme == "file"
        and source.fs.isdir(source.path)
        and not any(file.path.lower().endswith(".parquet") for file in data_files(source))
    )


def _from_folder(folder: Path) -> People:
    table = read_fgnet(folder).table
    paths = table["path"].to_pylist()
    return People(
        paths,
        np.array(table["subject"].to_pylist(), object),
        table["age"].to_numpy().astype(np.float32),
        _fetched([f"{folder}/{path}" for path in paths]),
    )


def _from_parquet(source: Location) -> People:
    tables = [_table(file) for file in parquet_files(source)]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise UsageError(f"the Parquet files of {source.url} have different columns: {error}") from error
    ids = [value or "a row without id" for value in table["id"].to_pylist()]
    subjects, ages = table["subject"].to_pylist(), table["age"].to_pylist()
    for row, (subject, age) in enumerate(zip(subjects, ages, strict=True)):
        if subject is None:
            raise UsageError(f"{source.url}: {ids[row]} has no subject; every photograph needs one")
        if age is None or not 0 <= age <= OLDEST:
            raise UsageError(f"{source.url}: {ids[row]} has the age {age}; expected 0..{OLDEST} years")
    images = table["image"].to_pylist() if "image" in table.column_names else _fetched(table["uri"].to_pylist())
    for face, image in zip(ids, images, strict=True):
        if not image:
            raise UsageError(f"{source.url}: {face} has no image")
    return People(ids, np.array(subjects, object), np.array(ages, np.float32), images)


def _table(file: Location) -> pa.Table:
    """Reads the columns `id`, `subject`, `age` and `image` or `uri` of a file."""
    try:
        with file.fs.open(file.path, "rb") as opened:
            schema = pq.read_schema(opened)
            names = schema.names
            check_names(names, {*_IDS, "subject", "age", *_IMAGES}, file.url)
            chosen = {"id": _first(_IDS, names), "subject": "subject", "age": "age", "image": _first(_IMAGES, names)}
            missing = [ours for ours, name in chosen.items() if name not in names]
            if missing:
                raise UsageError(
                    f"{file.url} has no column {', '.join(missing)} (its columns: {', '.join(names)}); expected "
                    f"subject, age (years), one of {', '.join(_IDS)}, and image (encoded bytes) or uri"
                )
            if chosen["image"] == "image":
                check_image_column(schema.field("image").type, file.url)
            opened.seek(0)
            table = pq.read_table(opened, columns=list(dict.fromkeys(chosen.values())))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read photographs: {problem(error, file.url)}") from error
    named = {
        ("uri" if chosen["image"] == "uri" and ours == "image" else ours): table[name]
        for ours, name in chosen.items()
        if name
    }
    named["id"], named["subject"] = (_text(named[name]) for name in ("id", "subject"))
    if "uri" in named:
        named["uri"] = absolute(_text(named["uri"]), file.parent)
    else:
        named["image"] = encoded_images(named["image"])
    return pa.table(named)


def _first(wanted: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _text(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([identifier(value) for value in column.to_pylist()], pa.string())


def _fetched(uris: list[str]) -> list[bytes]:
    images: list[bytes] = []
    for uri, answer in zip(uris, fetch(uris, [None] * len(uris), _MAX_BYTES), strict=True):
        if isinstance(answer, FetchError):
            raise UsageError(f"cannot read {uri}: {answer.reason}")
        images.append(answer)
    return images
