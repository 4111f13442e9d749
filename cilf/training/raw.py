"""Labelled rows as they were found, whatever file they come from, before anybody has looked at an image."""

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
"""Names that labels may have, in columns or in JSON."""
PEOPLE = ("gender", "sex", "race")
"""Names of what captions tell beside the age; what is called otherwise is left alone."""
PLACES = ("uri", "path")
"""Columns that say where an image is; the first that has something counts."""

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
"""`uri` is absolute. `wrong` says why nothing can be learned from a row of which that is known already."""

Row = Mapping[str, Any]
NOTHING: Row = MappingProxyType({})
"""Labels that folders tell where their names tell none."""


def folder_labels(file: Location, source: str) -> Row:
    """The labels in the names of the folders between a source's path and one of its files, such as `subject=007`.

    Raises:
        UsageError: one stands twice, or is written in upper case.
    """
    found = partition(file.path, source)
    check_names((name for name, _ in found), LABELS, file.url)
    return {name: value for name, value in found if name in LABELS}


def raw_table(rows: Iterable[Row], file: Location) -> pa.Table:
    """Rows of a file by the names of their labels -> RAW. What `uri` or `path` names is relative to the file."""
    return pa.Table.from_pylist([_raw(row, file.parent) for row in rows], RAW)


def wanted(row: Row, split: str | None) -> bool:
    """Whether a row is of a split; None takes every row."""
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
    """What stands under the first of the names that has something."""
    return next(filter(None, (identifier(row.get(name)) for name in names)), None)


def _place(row: Row, folder: Location) -> tuple[str | None, str | None]:
    """The URI of a row's image, and what is wrong with it."""
    given = _first(row, *PLACES)
    if given is None:
        return None, None
    try:
        return absolute(pa.array([given]), folder)[0].as_py(), None
    except UsageError as error:
        return given, str(error)
