"""Ids, subjects and splits as the one text that they are compared by, whatever the type of their column."""

from __future__ import annotations

import math
from decimal import Decimal


def identifier(value: object) -> str | None:
    """The text of an id, a subject or a split; None where there is none.

    Text stays as it is written: `007` and `7` are two. A whole number has no point, as pandas turns a column of
    integers into one of floats where values are missing, and DuckDB some into decimals.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)
