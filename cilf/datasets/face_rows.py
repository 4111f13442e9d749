"""Converts rows of labelled faces to the same columns and types for all files, and marks rows that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cilf.datasets.age_groups import BOUNDS, AgeGroup, group_of_row, years
from cilf.datasets.columns import encoded_images, without_views
from cilf.datasets.face_files import FaceFile
from cilf.datasets.identifiers import identifier
from cilf.datasets.known_boxes import given_boxes

OLDEST = 130
"""Ages above this count as errors, years."""

_NUMBERED = {
    "gender": {0: "male", 1: "female"},
    "race": {0: "White", 1: "Black", 2: "Asian", 3: "Indian", 4: "Others"},
}
"""Meanings of UTKFace's codes."""


@dataclass(frozen=True)
class Columns:
    """The common columns of a split's rows."""

    split: str
    there: Sequence[str]
    """Those of cilf.datasets.face_files.GROUPS and `age_std` that at least one file has."""
    by_group: bool
    """Whether the split uses age groups instead of ages."""

    def of(self, table: pa.Table, file: FaceFile) -> pa.Table:
        """The rows of the split with the columns `id`, `image`, `box` (list of float32, pixels; null: the whole image),
        `age` (float32, years), `unlabelled` (the reason why a row has no usable age or group; null if it has one),
        `age_group` (the group's name, if `by_group`), and those in `there`, null where a row has no value."""
        image = table.schema.get_field_index("image")
        table = without_views(table.set_column(image, "image", encoded_images(table["image"])))
        table = table.filter(pc.equal(table["split"].cast(pa.string()), self.split))

        def given(name: str) -> list[Any]:
            return table[file.columns[name]].to_pylist() if name in file.columns else [None] * len(table)

        ages = [None if self.by_group else years(age) for age in given("age")]
        groups = [group_of_row(low, high) for low, high in zip(*map(given, BOUNDS), strict=True)]
        why = [self._unlabelled(age, group) for age, group in zip(ages, groups, strict=True)]
        columns = {
            "id": pa.array([identifier(value) or "a row without id" for value in given("id")], pa.string()),
            "image": table["image"],
            "box": pa.array(given_boxes(table), pa.list_(pa.float32())),
            "age": pa.array(ages, pa.float32()),
            "unlabelled": pa.array(why, pa.string()),
        }
        if self.by_group:
            columns["age_group"] = pa.array([group and group.name for group in groups], pa.string())
        for name in self.there:
            if name == "age_std":
                columns[name] = pa.array([years(value) for value in given(name)], pa.float32())
            else:
                names = [group_name(value, _NUMBERED.get(name)) for value in given(name)]
                columns[name] = pa.array(names, pa.string())
        return pa.table(columns)

    def _unlabelled(self, age: float | None, group: AgeGroup | None) -> str | None:
        if self.by_group:
            return "no age group" if group is None else group.problem
        if age is None:
            return "no age" if group is None else "an age group, where other rows have ages"
        return None if 0 <= age <= OLDEST else f"age {age:g} is outside 0..{OLDEST}"


def group_name(value: object, numbered: dict[int, str] | None = None) -> str | None:
    """The name of a row's group or subject; None if it has none.

    Args:
        numbered: code -> name.
    """
    if numbered and isinstance(value, int | float) and value in numbered:
        return numbered[int(value)]
    return identifier(value)
