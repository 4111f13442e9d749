"""Makes tables of labelled faces as `cilf data check` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cilf.datasets.labels import TABLE


def made(dataset: str, rows: int, **columns: Sequence[Any]) -> pa.Table:
    """A table of `rows` rows; columns that are not given are null, paths are numbers."""
    given: dict[str, Any] = {"path": [f"{row:05}.jpg" for row in range(rows)], "dataset": [dataset] * rows, **columns}
    return pa.table([given.get(name, [None] * rows) for name in TABLE.names], schema=TABLE)


def morph(rows: int, photographs: int = 4) -> pa.Table:
    """A small MORPH-II: each subject has `photographs` photographs, one race and one sex; names are as published."""
    subjects = [row // photographs for row in range(rows)]
    sexes = ["FMMM"[subject % 4] for subject in subjects]
    return made(
        "morph2",
        rows,
        path=[f"{s:06}_{row % photographs}{sexes[row]}{20 + s % 40}.JPG" for row, s in enumerate(subjects)],
        age=[20 + subject % 40 for subject in subjects],
        sex=["female" if sex == "F" else "male" for sex in sexes],
        race=["BWH"[subject // 4 % 3] for subject in subjects],
        subject=[str(subject) for subject in subjects],
    )
