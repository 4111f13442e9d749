"""Which face of a photograph a row of labels means: the columns `box`, or `left`, `top`, `right` and `bottom`."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

SIDES = ("left", "top", "right", "bottom")
BOX_COLUMNS = ("box", *SIDES)

Box = tuple[float, ...]
_NO_BOX: Box = (float("nan"),) * len(SIDES)


def given_boxes(table: pa.Table) -> list[Box | None]:
    """Each row's box, pixels of the upright photograph; None where all of the image is the face.

    What is there but is no box is one of NaN, so that the row is not taken for a whole image.
    """
    if "box" in table.column_names:
        return [None if box is None else _floats(box) for box in table["box"].to_pylist()]
    if set(SIDES) <= set(table.column_names):
        rows = zip(*(table[side].to_pylist() for side in SIDES), strict=True)
        return [None if all(side is None for side in row) else _floats(row) for row in rows]
    return [None] * len(table)


def _floats(sides: Sequence[float | None]) -> Box:
    try:
        numbers = tuple(float("nan") if side is None else float(side) for side in sides)
    except (TypeError, ValueError):
        return _NO_BOX
    return numbers if len(numbers) == len(SIDES) else _NO_BOX
