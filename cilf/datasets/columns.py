"""Handles columns of other programs' files: their names, images as bytes or in structs, and Arrow view types."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from cilf.column_types import has_bytes, is_bytes
from cilf.errors import UsageError

TRUE_AGE = "true_age"
"""The column of a review file that people fill in."""
_INVISIBLE = "\ufeff\u200b"
"""Invisible characters that editors leave at the beginning of a file."""


def check_names(names: Iterable[str], known: Collection[str], url: str) -> None:
    """Check that no column has an ambiguous name; see `misnamed`.

    Raises:
        UsageError: a column is misnamed.
    """
    if fault := misnamed(names, known):
        raise UsageError(f"{url} has a column {fault}")


def misnamed(names: Iterable[str], known: Collection[str]) -> str | None:
    """The first name that is ambiguous, with advice: twice, or a known name but for case or blanks. None if none is.

    Args:
        known: the names that are read, in lower case. Other names are not checked.
    """
    seen = set()
    for name in names:
        meant = name.strip(_INVISIBLE).strip().lower()
        if meant in known and name != meant:
            advice = f"rename it to `{meant}` if that is what it holds, and to something else if not"
            return f"{name!r}, which differs from `{meant}` by case or blanks only: {advice}"
        if name in known and name in seen:
            return f"`{name}` twice: leave one of them out, or rename it"
        seen.add(name)
    return None


def check_no_review(names: Iterable[str], url: str) -> None:
    """Check that the columns are not those of a review file, in which `age` is a model's own estimate.

    Raises:
        UsageError: TRUE_AGE is among the names.
    """
    if TRUE_AGE in names:
        raise UsageError(
            f"{url} is a review file: `cilf report OUTPUT --corrections {url} --training-rows corrected.parquet` makes "
            "rows to learn from"
        )


def check_image_column(kind: pa.DataType, url: str) -> None:
    """Check that a column holds encoded images.

    Raises:
        UsageError: the type is neither binary nor a struct with a binary field `bytes`.
    """
    if not (is_bytes(kind) or has_bytes(kind)):
        raise UsageError(
            f"{url} has a column image of {kind}; expected binary, the encoded bytes, or a struct with a field `bytes`"
        )


def encoded_images(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The encoded images of a checked column, large_binary [N]; null where an image has no bytes."""
    if has_bytes(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(pa.large_binary())


def without_views(table: pa.Table) -> pa.Table:
    """Casts view types, which DataFusion and Polars write, to the types that all Arrow functions accept."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return table.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in table.schema]))
