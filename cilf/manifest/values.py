"""Values in the columns of schema.MANIFEST of a user's manifest: text, sizes and times in whatever form they are
written."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from cilf import schema
from cilf.column_types import with_values
from cilf.errors import UsageError
from cilf.manifest.columns import fitted, plain

_TIME = schema.MANIFEST.field("modified").type
_NOTHING = ("", "NA", "N/A", "NULL", "null", "None", "NaN", "nan", "NaT", "<NA>")
"""Texts that other programs write for a missing number or time."""
_WHOLE, _BROKEN = r"^[+-]?\d+$", r"^[+-]?\d+(\.\d*([eE][+-]?\d+)?|[eE][+-]?\d+)$"
_DAYS = 10_000_000, 99_999_999
"""Numbers that may be days, such as 20240501."""
_CLOCK = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d([0-5]\d)?$"
"""Numbers that may be days and times, such as 20240501101112."""
_EXPECTED = {
    "uri": "text",
    "etag": "text",
    "bytes": "a whole number, or nothing",
    "modified": "a time such as 2024-05-01T10:11:12Z, seconds since 1970, or nothing",
}


def converted(column: pa.Array, name: str, url: str, before: int) -> pa.Array:
    """A column of a manifest, converted to the type of schema.MANIFEST.

    Args:
        column: the column, of any type.
        name: `uri`, `etag`, `bytes` or `modified`.
        url: the file's URL.
        before: number of rows of the file before these.

    Raises:
        UsageError: a value cannot be converted, or a row has no URI.
    """
    convert = _CONVERT[name]
    try:
        found = convert(column)
    except (pa.ArrowException, ValueError) as error:
        number = next(number for number in range(len(column)) if not _works(convert, column.slice(number, 1)))
        found = f"`{name}` of row {before + number + 1} is {_told(column[number])}"
        raise UsageError(f"{url}: {found}, not {_EXPECTED[name]}") from error
    if name == "uri" and pc.any(pc.fill_null(pc.equal(found, ""), True)).as_py():
        number = pc.index(pc.fill_null(pc.equal(found, ""), True), True).as_py()
        raise UsageError(f"{url}: row {before + number + 1} has no uri")
    return found


def _told(value: pa.Scalar) -> str:
    try:
        return repr(str(value.as_py()))[:80]
    except (ValueError, OverflowError):  # a time that Python cannot represent
        return f"a {value.type} out of range"


def _works(convert: Callable[[pa.Array], pa.Array], column: pa.Array) -> bool:
    try:
        convert(column)
    except (pa.ArrowException, ValueError):
        return False
    return True


def _plainly(column: pa.Array) -> pa.Array:
    return fitted(column, with_values(plain(column.type)))


def _text(column: pa.Array) -> pa.Array:
    return _plainly(column).cast(pa.string())


def _etag(column: pa.Array) -> pa.Array:
    return pc.utf8_trim(_text(column), '"')  # S3 puts quotes around it, and listings leave them out.


def _size(column: pa.Array) -> pa.Array:
    column = _something(_plainly(column))
    if pa.types.is_string(column.type):
        column = column.cast(pa.float64())  # Some programs write 12.0 if other values are missing.
    return _without_nan(column).cast(pa.int64())


def _time(column: pa.Array) -> pa.Array:
    column = _something(_plainly(column))
    if pa.types.is_string(column.type):
        return _time_of_text(column)
    if pa.types.is_integer(column.type):
        return _since_1970(column.cast(pa.int64()))
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return _since_1970(_without_nan(column.cast(pa.float64())))
    return column.cast(pa.timestamp("us")).cast(_TIME)


def _time_of_text(column: pa.Array) -> pa.Array:
    """Times from text: numbers, and ISO 8601 times, which are UTC if they have no time zone."""
    whole, broken = pc.match_substring_regex(column, _WHOLE), pc.match_substring_regex(column, _BROKEN)
    numbers = _only(whole, column).cast(pa.int64()), _only(broken, column).cast(pa.float64())
    written = _only(pc.invert(pc.or_(whole, broken)), pc.utf8_trim_whitespace(column))
    for pattern, instead in ((r"(\.\d{6})\d+", r"\1"), (r"\s*(UTC|GMT)$", "Z"), (r"(:[\d.]+)\s+([+-])", r"\1\2")):
        written = pc.replace_substring_regex(written, pattern, instead)
    zoned = pc.match_substring_regex(written, r":.*(Z|[+-][\d:]+)$")
    naive = _only(pc.invert(zoned), written).cast(pa.timestamp("us")).cast(_TIME)
    return pc.coalesce(*map(_since_1970, numbers), _only(zoned, written).cast(_TIME), naive)


def _since_1970(number: pa.Array) -> pa.Array:
    """Times from numbers: seconds, or if these are too large (from the year 5138 on), milli-, micro- or nanoseconds.

    Raises:
        ValueError: a number may be a day, such as 20240501, or all may be days and times, such as 20240501101112.
    """
    size = pc.abs(number)
    if pc.any(pc.and_(pc.greater_equal(size, _DAYS[0]), pc.less_equal(size, _DAYS[1]))).as_py():
        raise ValueError("a day, or seconds?")
    if _are_clocks(number):
        raise ValueError("days and times, or milliseconds?")
    number_of = float if pa.types.is_floating(number.type) else int
    nano, micro, milli = (pc.greater_equal(size, number_of(limit)) for limit in (1e17, 1e14, 1e11))
    micros = pc.case_when(
        pc.make_struct(nano, micro, milli),
        pc.divide(number, number_of(1000)),
        number,
        pc.multiply(number, number_of(1000)),
        pc.multiply(number, number_of(1_000_000)),
    )
    return (pc.round(micros) if number_of is float else micros).cast(pa.int64()).cast(_TIME)


def _are_clocks(number: pa.Array) -> bool:
    """True if all numbers other than 0 look like days and times. One alone may be milliseconds: 199912312359 is in
    1976."""
    some = number.filter(pc.not_equal(number, 0)).cast(pa.int64(), safe=False).cast(pa.string())
    return len(some) > 0 and pc.all(pc.match_substring_regex(some, _CLOCK)).as_py()


def _something(column: pa.Array) -> pa.Array:
    """A column with null for the texts in _NOTHING."""
    if not pa.types.is_string(column.type):
        return column
    return _only(pc.invert(pc.is_in(column, pa.array(_NOTHING))), column)


def _without_nan(column: pa.Array) -> pa.Array:
    return _only(pc.invert(pc.is_nan(column)), column) if pa.types.is_floating(column.type) else column


def _only(wanted: pa.Array, column: pa.Array) -> pa.Array:
    return pc.if_else(wanted, column, pa.scalar(None, column.type))


_CONVERT = {"uri": _text, "etag": _etag, "bytes": _size, "modified": _time}
