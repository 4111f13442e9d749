"""Reads the box of a labelled face from the columns `box`, or `left`, `top`, `right` and `bottom`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

SIDES = ("left", "top", "right", "bottom")
BOX_COLUMNS = ("box", *SIDES)

Box = tuple[float, ...]
_NO_BOX: Box = (float("nan"),) * len(SIDES)


def given_boxes(table: pa.Table) -> list[Box | None]:
    """The box of each row, as from `box_of`."""
    names = [name for name in BOX_COLUMNS if name in table.column_names]
    if not names:
        return [None] * len(table)
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [box_of(dict(zip(names, row, strict=True))) for row in rows]


def box_of(row: Mapping[str, Any]) -> Box | None:
    """A row's box, pixels of the upright photograph; None if the whole image is the face.

    If `box` is null, the four sides are used: a set with `box` may have been joined to one with sides.
    An invalid box becomes four NaNs, so that the row does not count as a whole image.
    """
    if row.get("box") is not None:
        return _floats(row["box"])
    sides = [row.get(side) for side in SIDES]
    return None if all(side is None for side in sides) else _floats(sides)


def _floats(sides: Sequence[float | None]) -> Box:
    try:
        numbers = tuple(float("nan") if side is None else float(side) for side in sides)
    except (TypeError, ValueError):
        return _NO_BOX
    return numbers if len(numbers) == len(SIDES) else _NO_BOX
