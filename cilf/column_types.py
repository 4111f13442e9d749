"""Types of the columns of users: the type that holds the values of two others, and the conversion of arrays to it.

A column seldom has exactly the same type in two files. JSON lines have `{"iso": null}` one night and `{"iso": 100}`
the next; a column of whole numbers gets its first 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

_SAME: tuple[Callable[[pa.DataType], bool], ...] = (
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
)
"""Families of types that hold the same values and differ only in memory."""

_PROMOTED: tuple[Callable[[pa.DataType], bool], ...] = (
    lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    lambda kind: pa.types.is_timestamp(kind) and kind.tz is None,
    pa.types.is_time,
    pa.types.is_date,
    pa.types.is_duration,
    lambda kind: _SAME[1](kind) or pa.types.is_fixed_size_binary(kind),
)
"""Families in which Arrow finds the wider of two types."""

_DIGITS = {pa.int8(): 3, pa.uint8(): 3, pa.int16(): 5, pa.uint16(): 5, pa.int32(): 10, pa.uint32(): 10, pa.int64(): 19}


def united(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The narrowest type that holds the values of both: `first` itself if it does.

    Null unites with every type, a number with a wider one, a struct with one of other fields, at any depth. Only the
    cast checks whether each value fits exactly, such as an integer above 2^53 into a double.

    Raises:
        TypeError: there is no such type, for example for integers and text.
    """
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    first, second = without_encoding(first), without_encoding(second)
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        return _struct(first, second)
    if pa.types.is_map(first) and pa.types.is_map(second):
        return pa.map_(united(first.key_type, second.key_type), united(first.item_type, second.item_type))
    if is_list(first) and is_list(second):
        made = pa.large_list if pa.types.is_large_list(first) else pa.list_
        return made(united(first.value_type, second.value_type))
    return _leaf(first, second)


def is_list(kind: pa.DataType) -> bool:
    """True if the values are lists, however they are stored."""
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return views or pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """True if the values are bytes, however they are stored."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        return is_bytes(kind.value_type)
    return (
        is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind)
    )


def has_bytes(kind: pa.DataType) -> bool:
    """True if the values are structs with a field `bytes` that holds bytes, as Hugging Face writes images."""
    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and is_bytes(kind.field("bytes").type)


_NO_FIELDS = "{}"
"""The text that replaces a struct without fields, which Parquet does not support."""


def with_values(kind: pa.DataType) -> pa.DataType:
    """The type with string in the place of null and of empty structs, which few readers can read."""
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.struct([field.with_type(with_values(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(with_values(kind.key_type), with_values(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(with_values(kind.value_type))
    return pa.string() if pa.types.is_null(kind) or pa.types.is_struct(kind) else kind


def known(values: pa.Array) -> pa.DataType:
    """The type of an array, with null wherever it has no values: what its rows show about the column."""
    kind = values.type
    if values.null_count == len(values):
        return pa.null()
    if pa.types.is_struct(kind):
        children = zip(kind, values.flatten(), strict=True)
        return pa.struct([pa.field(field.name, known(child)) for field, child in children])
    if pa.types.is_map(kind):
        entries = known(_entries(values).flatten())
        return kind if pa.types.is_null(entries) else pa.map_(kind.key_type, entries.field("value").type)
    if is_list(kind):
        return pa.list_(known(values.flatten()))
    return pa.struct([]) if _of_no_fields(values) else kind


def known_of_both(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type that two arrays together show for their column, given the `known` type of each.

    Text represents structs without fields only if it does so in both.
    """
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if pa.types.is_map(first):
        return pa.map_(first.key_type, known_of_both(first.item_type, second.item_type))
    if is_list(first):
        return pa.list_(known_of_both(first.value_type, second.value_type))
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        pairs = zip(first, second, strict=True)
        return pa.struct([one.with_type(known_of_both(one.type, other.type)) for one, other in pairs])
    return pa.string()


def _of_no_fields(values: pa.Array) -> bool:
    if not pa.types.is_string(values.type):
        return False
    return bool(pc.all(pc.equal(values, _NO_FIELDS)).as_py())


def fitted(values: pa.Array, kind: pa.DataType, cut: bool = False) -> pa.Array:
    """An array as another type that can hold its values: fields of structs by name, null where a field is missing.

    Args:
        cut: whether digits of a time may be cut off for which the type has no room.

    Raises:
        pyarrow.ArrowException: a value does not fit.
    """
    if values.type == kind:
        return values
    if values.null_count == len(values):
        return pa.nulls(len(values), kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(values.type):
        return _fitted_struct(values, kind, cut)
    if pa.types.is_struct(kind) and _of_no_fields(values):
        nothing = [pa.nulls(len(values), field.type) for field in kind]
        return pa.StructArray.from_arrays(nothing, fields=list(kind), mask=values.is_null())
    if pa.types.is_string(kind) and values.type == pa.struct([]):
        return pc.if_else(values.is_valid(), _NO_FIELDS, pa.scalar(None, kind))
    if pa.types.is_map(kind) and pa.types.is_map(values.type):
        entries = _fitted_list(_entries(values), pa.list_(pa.struct(_fields_of_entries(kind))), cut)
        keys, items = entries.values.flatten()
        return pa.MapArray.from_arrays(entries.offsets, keys, items, type=kind, mask=values.is_null())
    if is_list(kind) and is_list(values.type) and not pa.types.is_fixed_size_list(kind):
        return _fitted_list(values, kind, cut)
    return pc.cast(values, options=pc.CastOptions(target_type=kind, allow_time_truncate=cut))


def fitted_table(table: pa.Table, fields: Iterable[pa.Field], cut: bool = False) -> pa.Table:
    """The columns of `fields`, in this order and with these types; null where the table lacks one.

    Raises:
        pyarrow.ArrowException: a value does not fit.
    """
    wanted = pa.schema(fields)
    columns = [_column(table, field, cut) for field in wanted]
    return pa.table(columns, schema=wanted)


def _column(table: pa.Table, field: pa.Field, cut: bool) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    try:
        chunks = [fitted(chunk, field.type, cut) for chunk in table[field.name].chunks]
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"{field.name}, {table[field.name].type} to {field.type}: {error}") from error
    return pa.chunked_array(chunks, field.type)


def _struct(first: pa.StructType, second: pa.StructType) -> pa.StructType:
    fields = {field.name: field for field in first}
    for field in second:
        before = fields.get(field.name, pa.field(field.name, pa.null()))
        try:
            fields[field.name] = pa.field(field.name, united(before.type, field.type))
        except TypeError as error:
            raise TypeError(f"{field.name}: {error}") from error
    if twice := twins(fields):
        raise TypeError(f"its fields {' and '.join(twice)} differ by case only")
    common = {field.name for field in first if not field.nullable} & {f.name for f in second if not f.nullable}
    return pa.struct([field.with_nullable(name not in common) for name, field in fields.items()])


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of the names that most readers of tables take for the same, such as `Camera` and `camera`, or one name twice;
    None if there are none.

    DuckDB, Spark, Delta and Iceberg compare names in lower case, so `straße` and `STRASSE` are different.
    """
    seen: dict[str, str] = {}
    for name in names:
        if other := seen.get(name.lower()):
            return other, name
        seen[name.lower()] = name
    return None


def without_encoding(kind: pa.DataType) -> pa.DataType:
    """The type of the values that a dictionary, a view or an extension type holds; other types are returned as is."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    return kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind


def _leaf(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if any(same(first) and same(second) for same in _SAME):
        return first
    if any(family(first) and family(second) for family in _PROMOTED):
        return _promoted(first, second)
    if pa.types.is_timestamp(first) and pa.types.is_timestamp(second) and first.tz and second.tz:
        unit = _promoted(pa.timestamp(first.unit), pa.timestamp(second.unit)).unit
        return pa.timestamp(unit, first.tz if first.tz == second.tz else "UTC")
    if pa.types.is_decimal(first) or pa.types.is_decimal(second):
        return _decimal(first, second)
    raise _no_type(first, second)


def _promoted(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    sides = [pa.schema([("", kind)]) for kind in (first, second)]
    return pa.unify_schemas(sides, promote_options="permissive").field(0).type


def _decimal(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The decimal that holds two decimals, or a decimal and an integer."""
    whole = scale = 0
    for kind in (first, second):
        if pa.types.is_decimal(kind):
            whole, scale = max(whole, kind.precision - kind.scale), max(scale, kind.scale)
        elif pa.types.is_integer(kind):
            whole = max(whole, _DIGITS.get(kind, 20))
        else:
            raise _no_type(first, second)
    if whole + scale > 76:
        raise _no_type(first, second)
    made = pa.decimal128 if whole + scale <= 38 else pa.decimal256
    return made(whole + scale, scale)


def _no_type(first: pa.DataType, second: pa.DataType) -> TypeError:
    return TypeError(f"{first} and {second} have no type in common")


def _fitted_struct(values: pa.StructArray, kind: pa.StructType, cut: bool) -> pa.StructArray:
    children = {field.name: child for field, child in zip(values.type, values.flatten(), strict=True)}
    of = [
        fitted(children[field.name], field.type, cut) if field.name in children else pa.nulls(len(values), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(of, fields=list(kind), mask=values.is_null())


def _fitted_list(values: pa.Array, kind: pa.DataType, cut: bool) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    large = pa.types.is_large_list(kind)
    made = pa.LargeListArray if large else pa.ListArray
    inner = fitted(values.flatten(), kind.value_type, cut)
    offsets = offsets.cast(pa.int64() if large else pa.int32())
    return made.from_arrays(offsets, inner, type=kind, mask=values.is_null())


def _entries(values: pa.MapArray) -> pa.ListArray:
    """Maps as lists of their key-value pairs."""
    return values.cast(pa.list_(pa.struct(_fields_of_entries(values.type))))


def _fields_of_entries(kind: pa.MapType) -> list[pa.Field]:
    return [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]
