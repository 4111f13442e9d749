"""The Arrow types that tables have, and the conversion of the others."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from cilf.column_types import is_list, united, without_encoding

_AS_OTHERS = {
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32()), pa.int64()),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
}
_AS_THEY_ARE = {
    *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.string(), pa.binary()),
}
_DIGITS = 38


def table_type(kind: pa.DataType, times: bool) -> pa.DataType | None:
    """The type in a table for values of an Arrow type, at any depth; None if the type has no values.

    Every value keeps its meaning; times are cut to microseconds, and time zones become UTC.

    Args:
        times: whether the table has a type for the time of day.

    Raises:
        TypeError: tables have no such type.
    """
    kind = without_encoding(kind)
    if pa.types.is_struct(kind):
        fields = [pa.field(field.name, found) for field in kind if (found := table_type(field.type, times))]
        return pa.struct(fields) if fields else None
    if pa.types.is_map(kind):
        key, item = table_type(kind.key_type, times), table_type(kind.item_type, times)
        return pa.map_(key, item) if key and item else None
    if is_list(kind):
        value = table_type(kind.value_type, times)
        return pa.list_(value) if value else None
    return None if pa.types.is_null(kind) else _leaf(kind, times)


def _leaf(kind: pa.DataType, times: bool) -> pa.DataType:
    if kind in _AS_THEY_ARE:
        return kind
    if kind in _AS_OTHERS:
        return _AS_OTHERS[kind]
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_decimal(kind) and kind.precision <= _DIGITS and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_time(kind) and times:
        return pa.time64("us")
    raise TypeError(f"{kind}")


def grows(before: pa.DataType, after: pa.DataType, promoted: Callable[[pa.DataType, pa.DataType], bool]) -> bool:
    """Whether a column of a table can take values of another type while its data files stay.

    Args:
        before: the column's type, as table_type gives it.
        after: the type of the values.
        promoted: whether readers of the table read one unnested type as another, wider one.
    """
    if pa.types.is_struct(before) and pa.types.is_struct(after):
        return all(grows(before.field(f.name).type, f.type, promoted) for f in after if f.name in before.names)
    if pa.types.is_map(before) and pa.types.is_map(after):
        return before.key_type == after.key_type and grows(before.item_type, after.item_type, promoted)
    if pa.types.is_list(before) and pa.types.is_list(after):
        return grows(before.value_type, after.value_type, promoted)
    try:
        return united(before, after) == before or promoted(before, after)
    except TypeError:
        return False
