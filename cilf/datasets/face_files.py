"""Finds Parquet files of labelled faces and summarises their rows of a split and of other splits, without reading
images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf.datasets.age_groups import BOUNDS, AgeGroup, distinct_bounds, group_of_row, years
from cilf.datasets.columns import check_image_column, check_names, check_no_review, without_views
from cilf.datasets.data_files import data_files
from cilf.datasets.known_boxes import BOX_COLUMNS
from cilf.errors import UsageError
from cilf.manifest.partitions import Partition, extended, partition, with_partition
from cilf.storage import Location, problem

_REQUIRED = ("id", "age", "image", "split")
_MEANT = "labelled faces need id, image (encoded bytes), split, and age (years) or age_low and age_high (of a group)"
GROUPS = {"gender": ("gender", "sex"), "race": ("race",), "subject": ("subject",)}
"""Group -> the columns that may hold it; the first one present is used."""
_KNOWN = {*_REQUIRED, *BOUNDS, "age_std", *BOX_COLUMNS, *chain.from_iterable(GROUPS.values())}


@dataclass(frozen=True)
class FaceFile:
    """One Parquet file of labelled faces."""

    location: Location
    folders: Partition
    """The columns in the names of its folders."""
    columns: dict[str, str]
    """The columns to read: our name -> the name in the file."""
    row_groups: list[int]
    """Row groups with rows of the split."""
    rows: int
    """Number of rows of the split."""
    splits: frozenset[str]
    aged: bool
    """Whether the file has no age groups, or at least one row of the split has an age."""
    age_groups: frozenset[AgeGroup]
    """The valid groups in rows of all splits."""
    others: int
    """Number of rows without a split or of another split."""
    known_others: frozenset[object]
    """Subjects of those other rows, as stored in the file."""


def parquet_files(source: Location) -> list[Location]:
    """The Parquet file, or the files of a folder or of `folder/*.parquet`, by name; see cilf.datasets.data_files.

    Raises:
        UsageError: there are no such files.
    """
    try:
        found = data_files(source)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot find labelled faces: {problem(error, source.url)}") from error
    tables = [file for file in found if file == source or file.path.lower().endswith(".parquet")]
    if not tables:
        raise UsageError(f"{source.url} holds no Parquet file with labelled faces")
    return tables


def inspect(location: Location, source: Location, split: str) -> FaceFile:
    """Summarises a file of a source for a split, without reading its images.

    Raises:
        UsageError: the file cannot be read, or does not hold labelled faces.
    """
    try:
        with location.fs.open(location.path, "rb") as opened:
            parquet = pq.ParquetFile(opened)
            folders = partition(location.path, source.path)
            schema = extended(parquet.schema_arrow, folders)
            _check(schema, location)
            found = {name: next((c for c in known if c in schema.names), None) for name, known in GROUPS.items()}
            numbers = ("age", *BOUNDS, "age_std")
            columns = {name: name for name in ("id", "image", *BOX_COLUMNS, *numbers) if name in schema.names}
            columns |= {name: column for name, column in found.items() if column}
            grouped = all(name in columns for name in BOUNDS)
            light = ["split", *(c for n, c in columns.items() if n == "subject" or (grouped and n in numbers[:3]))]
            own = [name for name in light if name in parquet.schema_arrow.names]
            groups = [parquet.read_row_group(group, columns=own) for group in range(parquet.num_row_groups)]
            parts = [without_views(with_partition(group, folders)) for group in groups]
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read labelled faces: {problem(error, location.url)}") from error
    splits = [part["split"].cast(pa.string()) for part in parts]
    inside = [pc.fill_null(pc.equal(column, split), False) for column in splits]
    counts = [pc.sum(mask).as_py() or 0 for mask in inside]
    ours = [part.filter(mask) for part, mask in zip(parts, inside, strict=True)]
    others = [part.filter(pc.invert(mask)) for part, mask in zip(parts, inside, strict=True)]
    return FaceFile(
        location,
        folders,
        columns,
        row_groups=[group for group, count in enumerate(counts) if count],
        rows=sum(counts),
        splits=frozenset(str(value) for value in _distinct(splits) if value is not None),
        aged=not grouped or ("age" in columns and any(years(a) is not None for a in _distinct(_column(ours, "age")))),
        age_groups=_age_groups(parts) if grouped else frozenset(),
        others=sum(map(len, others)),
        known_others=frozenset(_distinct(_column(others, columns["subject"]))) if "subject" in columns else frozenset(),
    )


def _check(schema: pa.Schema, location: Location) -> None:
    check_no_review(schema.names, location.url)
    check_names(schema.names, _KNOWN, location.url)
    instead = {"age"} if all(name in schema.names for name in BOUNDS) else set()
    missing = [name for name in _REQUIRED if name not in schema.names and name not in instead]
    if missing:
        raise UsageError(
            f"{location.url} has no column {', '.join(missing)} (its columns: {', '.join(schema.names)}); {_MEANT}"
        )
    check_image_column(schema.field("image").type, location.url)


def _column(parts: Sequence[pa.Table], name: str) -> list[pa.ChunkedArray]:
    return [part[name] for part in parts]


def _distinct(columns: Sequence[pa.ChunkedArray]) -> set[object]:
    return {value for column in columns for value in column.unique().to_pylist()}


def _age_groups(parts: Sequence[pa.Table]) -> frozenset[AgeGroup]:
    pairs = {pair for part in parts for pair in distinct_bounds(part)}
    groups = (group_of_row(low, high) for low, high in pairs)
    return frozenset(group for group in groups if group and not group.problem)
