"""Converts ids, subjects and splits to the text by which they are compared, whatever the type of their column."""

from __future__ import annotations

import math
from decimal import Decimal


def identifier(value: object) -> str | None:
    """The text of an id, a subject or a split; None if it is missing.

    Text stays as it is: `007` and `7` differ. Whole numbers are written without a decimal point, because pandas turns
    an integer column with missing values into floats, and DuckDB turns some into decimals.
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
