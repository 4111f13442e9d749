"""Labelled rows as read from any kind of file, before their images are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from cilf.datasets.age_groups import years
from cilf.datasets.columns import check_names
from cilf.datasets.identifiers import identifier
from cilf.datasets.known_boxes import BOX_COLUMNS, box_of
from cilf.errors import UsageError
from cilf.manifest.partitions import partition
from cilf.manifest.uris import absolute
from cilf.storage import Location

YEARS = ("age", "age_low", "age_high", "age_std")
LABELS = ("id", "subject", "split", *YEARS, *BOX_COLUMNS)
"""Names of labels, as columns or in JSON."""
PEOPLE = ("gender", "sex", "race")
"""Names of the labels that captions use besides the age; other names are ignored."""
PLACES = ("uri", "path")
"""Columns that locate an image; the first one with a value is used."""

RAW = pa.schema(
    [
        ("id", pa.string()),
        ("subject", pa.string()),
        ("split", pa.string()),
        *((name, pa.float32()) for name in YEARS),
        ("gender", pa.string()),
        ("race", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("uri", pa.string()),
        ("image", pa.large_binary()),
        ("wrong", pa.string()),
    ]
)
"""`uri` is absolute. `wrong` is the reason why a row cannot be used, if it is known already."""

Row = Mapping[str, Any]
NOTHING: Row = MappingProxyType({})
"""The labels of a file whose folders have no labels in their names."""


def folder_labels(file: Location, source: str) -> Row:
    """The labels in the names of the folders between a source's path and one of its files, such as `subject=007`.

    Raises:
        UsageError: a label occurs twice, or is written in upper case.
    """
    found = partition(file.path, source)
    check_names((name for name, _ in found), LABELS, file.url)
    return {name: value for name, value in found if name in LABELS}


def raw_table(rows: Iterable[Row], file: Location) -> pa.Table:
    """Rows of a file, keyed by label names -> RAW. Values of `uri` and `path` are relative to the file."""
    return pa.Table.from_pylist([_raw(row, file.parent) for row in rows], RAW)


def wanted(row: Row, split: str | None) -> bool:
    """True if a row belongs to a split; with None, always."""
    return split is None or identifier(row.get("split")) == split


def _raw(row: Row, folder: Location) -> dict[str, Any]:
    uri, wrong = _place(row, folder)
    return {
        **{name: identifier(row.get(name)) for name in ("id", "subject", "split")},
        **{name: years(row.get(name)) for name in YEARS},
        "gender": _first(row, "gender", "sex"),
        "race": identifier(row.get("race")),
        "box": box_of(row),
        "uri": uri,
        "image": row.get("image"),
        "wrong": row.get("wrong") or wrong,
    }


def _first(row: Row, *names: str) -> str | None:
    """The value of the first of the names that has one."""
    return next(filter(None, (identifier(row.get(name)) for name in names)), None)


def _place(row: Row, folder: Location) -> tuple[str | None, str | None]:
    """The URI of a row's image, and the error if it is not valid."""
    given = _first(row, *PLACES)
    if given is None:
        return None, None
    try:
        return absolute(pa.array([given]), folder)[0].as_py(), None
    except UsageError as error:
        return given, str(error)
