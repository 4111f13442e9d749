"""Which face of a photograph a row of labels means: the columns `box`, or `left`, `top`, `right` and `bottom`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

SIDES = ("left", "top", "right", "bottom")
BOX_COLUMNS = ("box", *SIDES)

Box = tuple[float, ...]
_NO_BOX: Box = (float("nan"),) * len(SIDES)


def given_boxes(table: pa.Table) -> list[Box | None]:
    """Each row's box, as `box_of` has it."""
    names = [name for name in BOX_COLUMNS if name in table.column_names]
    if not names:
        return [None] * len(table)
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [box_of(dict(zip(names, row, strict=True))) for row in rows]


def box_of(row: Mapping[str, Any]) -> Box | None:
    """A row's box, pixels of the upright photograph; None where all of the image is the face.

    Where `box` is null the sides count, as in a set with `box` that was joined to one with the sides.
    What is there but is no box is one of NaN, so that the row is not taken for a whole image.
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
