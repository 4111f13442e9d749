"""Columns of Parquet files as others write them: images as bytes or in structs, and views of bytes and texts."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from cilf.errors import UsageError

TRUE_AGE = "true_age"
"""The column of a review file that people fill in."""


def check_no_review(names: Iterable[str], url: str) -> None:
    """Stop where the columns are those of a review file, in which `age` is a model's own estimate.

    Raises:
        UsageError: TRUE_AGE is among the names.
    """
    if TRUE_AGE in names:
        raise UsageError(
            f"{url} is a review file: `cilf report OUTPUT --corrections {url} --training-rows corrected.parquet` makes "
            "rows to learn from"
        )


def check_image_column(kind: pa.DataType, url: str) -> None:
    """Stop where a column holds no encoded images.

    Raises:
        UsageError: it is neither of bytes nor of structs with a field `bytes` of such.
    """
    if not (_is_binary(kind) or _holds_bytes(kind)):
        raise UsageError(
            f"{url} has a column image of {kind}; expected binary, the encoded bytes, or a struct with a field `bytes`"
        )


def encoded_images(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """What a checked column holds, large_binary [N]; null where an image has no bytes."""
    if _holds_bytes(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(pa.large_binary())


def without_views(table: pa.Table) -> pa.Table:
    """Texts and bytes as the types that every function of Arrow takes; views are what DataFusion and Polars write."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return table.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in table.schema]))


def _holds_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
