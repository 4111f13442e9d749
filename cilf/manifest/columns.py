"""The names and types that a user's columns have in the labels, so that every reader of Parquet can read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf import schema
from cilf.column_types import is_list, twins
from cilf.errors import UsageError

DEEPEST = 30
"""Levels of lists and structs. Each takes up to three of the hundred levels that Arrow reads from Parquet."""
_LARGEST_DECIMAL = 38
"""Digits; readers read larger decimals as floating point, or not at all."""
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_INVISIBLE = "\ufeff\u200b"
"""Characters that editors leave at the beginning of a file."""


def check(columns: pa.Schema, url: str) -> None:
    """Make sure that the columns of a manifest's file can be carried through to the labels.

    Names are compared without case, as DuckDB, Spark, Delta and Iceberg compare them.

    Raises:
        UsageError: there is no column `uri`, or there is one that some reader cannot read or distinguish from another.
    """
    if "uri" not in columns.names:
        raise UsageError(f"{url} has no column `uri`{_instead(columns.names, url)}")
    check_own(schema.carried(columns), url)
    for name in columns.names:
        if name not in schema.MANIFEST.names and name.lower() in schema.MANIFEST.names:
            advice = f"rename it to `{name.lower()}` if that is what it holds, and to something else if not"
            raise UsageError(
                f"{url} has a column `{name}`, which readers confuse with the labels' `{name.lower()}`: {advice}"
            )
    _check_different(columns.names, url)


def check_own(own: Sequence[pa.Field], url: str) -> None:
    """Make sure that columns beyond schema.MANIFEST can be carried through to the labels.

    Raises:
        UsageError: they cannot.
    """
    clash = [field.name for field in own if field.name.lower() in schema.RESERVED]
    if clash:
        advice = "rename them (to most readers, names that differ by case only are the same)"
        raise UsageError(f"{url} has columns that the labels have too: {', '.join(sorted(clash))}; {advice}")
    _check_different([field.name for field in own], url)
    for field in own:
        _check_names(field, field.name, url, 0)


def _instead(names: Sequence[str], url: str) -> str:
    near = [name for name in names if name.strip(_INVISIBLE).strip().lower() == "uri"]
    if near:
        return f", but {near[0]!r}: rename it to `uri`"
    images = " and no column of images" if url.lower().endswith(".parquet") else ""
    commas = "; separate fields by commas" if len(names) == 1 and re.search("[;\t|]", names[0]) else ""
    return f"{images} (its columns: {', '.join(names) or 'none'}){commas}"


def _check_names(field: pa.Field, path: str, url: str, depth: int) -> None:
    """Check the names of a column and of what is nested in it."""
    if not field.name:
        advice = "name it, or leave it out (if it is the index of pandas: `index=False`)"
        raise UsageError(f"{url} has a column without a name{_inside(path)}: {advice}")
    if field.name != field.name.strip(_INVISIBLE).strip() or any(unicodedata.category(c) == "Cc" for c in field.name):
        advice = "a name may not begin or end with a blank or contain control characters; rename it"
        raise UsageError(f"{url} has a column {field.name!r}{_inside(path)}: {advice}")
    if depth > DEEPEST:
        raise UsageError(f"{url} has a column nested deeper than {DEEPEST} levels: {path.partition('.')[0]}")
    nested = list(_nested(field.type))
    if pa.types.is_struct(field.type):
        _check_different([child.name for child in nested], url, path)
    for child in nested:
        _check_names(child, f"{path}.{child.name}", url, depth + 1)


def _inside(path: str) -> str:
    outer = path.rpartition(".")[0]
    return f" in `{outer}`" if outer else ""


def _nested(kind: pa.DataType) -> Iterator[pa.Field]:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return (kind.field(number) for number in range(kind.num_fields))


def _check_different(names: Iterable[str], url: str, path: str = "") -> None:
    if twice := twins(names):
        first, second = twice
        inside = f" in `{path}`" if path else ""
        found = f"two columns `{first}`" if first == second else f"the columns `{first}` and `{second}`"
        raise UsageError(f"{url} has {found}{inside}, which readers take for the same column: rename one of them")


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that all readers support for the values of another one, at any depth.

    Views, large and fixed-size types, dictionaries, run-end encodings and extensions become the type of their values.
    Times become microseconds, in UTC if they have a time zone. Durations become seconds, float64. Times of day, UUIDs
    and decimals of more than 38 digits become text.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_extension(kind)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if is_list(kind):
        return pa.list_(plain(kind.value_type))
    return _plain_value(kind)


def _plain_extension(kind: pa.BaseExtensionType) -> pa.DataType:
    if isinstance(kind, pa.UuidType):
        return pa.string()
    return pa.bool_() if isinstance(kind, pa.Bool8Type) else plain(kind.storage_type)


def _plain_value(kind: pa.DataType) -> pa.DataType:
    is_ = pa.types
    if is_.is_large_string(kind) or is_.is_string_view(kind) or is_.is_time(kind):
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind):
        return pa.binary()
    if is_.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if is_.is_decimal(kind):
        fits = kind.precision <= _LARGEST_DECIMAL and kind.scale >= 0
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.string()
    if is_.is_float16(kind):
        return pa.float32()
    if is_.is_date64(kind):
        return pa.date32()
    return pa.float64() if is_.is_duration(kind) else kind


def fitted(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type, which `plain`, `with_values` and widening have made of its own.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit.
    """
    if column.type.equals(kind):
        return column
    if isinstance(column, pa.ExtensionArray):
        return fitted(_storage(column), kind)
    if pa.types.is_dictionary(column.type):
        return fitted(column.dictionary, kind).take(column.indices)
    if pa.types.is_run_end_encoded(column.type):
        return fitted(pc.run_end_decode(column), kind)
    if pa.types.is_struct(column.type):
        return _fitted_struct(column, kind)
    if pa.types.is_map(column.type):
        offsets = pa.array(column.offsets.to_numpy())
        keys, items = fitted(column.keys, kind.key_type), fitted(column.items, kind.item_type)
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=column.is_null())
    return _fitted_list(column, kind) if is_list(column.type) else _fitted_values(column, kind)


def _storage(column: pa.ExtensionArray) -> pa.Array:
    if isinstance(column.type, pa.UuidType):
        return pa.array([value and str(value) for value in column.to_pylist()], pa.string())
    return column.storage


def _fitted_struct(column: pa.StructArray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(kind):
        return pc.if_else(column.is_valid(), "{}", pa.scalar(None, kind))
    found = dict(zip(column.type.names, column.flatten(), strict=True))
    children = [
        fitted(found[field.name], field.type) if field.name in found else pa.nulls(len(column), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=column.is_null())


def _fitted_list(column: pa.Array, kind: pa.DataType) -> pa.Array:
    # Arrow's flatten copies the values of lists, which it cannot do for views.
    values, empty = fitted(column.values, kind.value_type), column.is_null()
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        offsets, sizes = pa.array(column.offsets.to_numpy()), pa.array(column.sizes.to_numpy())
        values = type(column).from_arrays(offsets, sizes, values, mask=empty).flatten()
        starts = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(column), 0))])
    elif pa.types.is_fixed_size_list(column.type):
        starts = np.arange(column.offset, column.offset + len(column) + 1) * column.type.list_size
    else:
        starts = column.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values, type=kind, mask=empty)


def _fitted_values(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_duration(column.type) and pa.types.is_floating(kind):
        return pc.divide(column.cast(pa.int64()).cast(kind, safe=False), _PER_SECOND[column.type.unit])
    # Only nanoseconds may lose digits.
    return column.cast(kind, safe=not (pa.types.is_timestamp(column.type) and column.type.unit == "ns"))
