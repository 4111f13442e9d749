"""Reads Parquet files of labelled photographs, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.datasets.columns import check_image_column, check_names, check_no_review, encoded_images
from cilf.errors import UsageError
from cilf.storage import Location, problem
from cilf.training.raw import LABELS, NOTHING, PEOPLE, PLACES, Row, wanted

_ROWS = 64
"""Number of rows with images that are in memory at once."""


def check_columns(names: list[str], given: Row, url: str, split: str | None) -> None:
    """Refuse a file with a column that is missing, occurs twice, or has a known name in another case.

    Args:
        given: labels from the file's folders, for which the file needs no columns.

    Raises:
        UsageError: such a column exists, and the message names it; or the file is a review file.
    """
    check_no_review(names, url)
    check_names(names, (*LABELS, *PLACES, "image"), url)
    there = {*names, *given}
    required = [*([] if {"age_low", "age_high"} <= there else ["age"]), *(["split"] if split else [])]
    missing = [name for name in required if name not in there]
    if not {"image", *PLACES} & set(names):
        missing.append("image (or uri, or path)")
    if missing:
        raise UsageError(f"{url} has no column {', '.join(missing)} (its columns: {', '.join(names)})")


def row_groups(file: Location, given: Row, split: str | None) -> int:
    """Number of row groups of a file; checks its columns, but reads no rows.

    Args:
        given: as in `check_columns`.

    Raises:
        UsageError: it is not a Parquet file, or not one of labelled photographs.
    """
    try:
        with file.fs.open(file.path, "rb") as opened:
            parquet = pq.ParquetFile(opened)
            schema, groups = parquet.schema_arrow, parquet.num_row_groups
    except Exception as error:
        raise UsageError(f"cannot read labelled photographs: {problem(error, file.url)}") from error
    check_columns(schema.names, given, file.url, split)
    if "image" in schema.names:
        check_image_column(schema.field("image").type, file.url)
    return groups


def parquet_rows(
    file: Location, group: int, split: str | None, with_images: bool = True, given: Row = NOTHING
) -> Iterator[Row]:
    """The rows of a split in a row group. The unreadable rows of a damaged row group are rows with `wrong`.

    Args:
        with_images: False leaves out `image`.
        given: labels of all rows; those in the file itself take precedence.
    """
    with file.fs.open(file.path, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        names = [name for name in (*LABELS, *PEOPLE, *PLACES, "image") if name in parquet.schema_arrow.names]
        known = [name for name in names if with_images or name != "image"]
        read = 0
        try:
            for batch in parquet.iter_batches(_ROWS if with_images else 4096, row_groups=[group], columns=known):
                read += len(batch)
                yield from (row for found in _rows(batch) if wanted(row := {**given, **found}, split))
        except (pa.ArrowException, OSError) as error:
            why = f"the row group cannot be read: {' '.join(str(error).split())}"
            for number in range(read, parquet.metadata.row_group(group).num_rows):
                yield {"id": f"{file.url}, row {number} of row group {group}", "wrong": why}


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    if "image" in batch.schema.names:
        place = batch.schema.get_field_index("image")
        batch = batch.set_column(place, "image", encoded_images(batch.column(place)))
    return batch.to_pylist()
