"""Columns of Parquet files as others write them: images as bytes or in structs, and views of bytes and texts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from cilf.column_types import has_bytes, is_bytes
from cilf.errors import UsageError


def check_image_column(kind: pa.DataType, url: str) -> None:
    """Stop where a column holds no encoded images.

    Raises:
        UsageError: it is neither of bytes nor of structs with a field `bytes` of such.
    """
    if not (is_bytes(kind) or has_bytes(kind)):
        raise UsageError(
            f"{url} has a column image of {kind}; expected binary, the encoded bytes, or a struct with a field `bytes`"
        )


def encoded_images(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """What a checked column holds, large_binary [N]; null where an image has no bytes."""
    if has_bytes(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(pa.large_binary())


def without_views(table: pa.Table) -> pa.Table:
    """Texts and bytes as the types that every function of Arrow takes; views are what DataFusion and Polars write."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return table.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in table.schema]))
