"""Some labelled faces, held as files in memory, so that they can be looked at again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cilf.card import Images
from cilf.datasets.faces import Alteration, Faces, FaceSet, cut_out

SEED = 0


@dataclass(frozen=True)
class FaceSample:
    """Rows of a FaceSet; the ids are their numbers, 0, 1, 2 ..."""

    data: str
    split: str
    find: bool
    table: pa.Table
    """As cilf.datasets.face_rows.Columns gives it."""
    altered: Alteration | None = None
    """What happens to each file before anybody reads it."""

    @property
    def rows(self) -> int:
        return len(self.table)

    def batches(self, images: Images, rows: int = 64) -> Iterator[Faces]:
        """As of a FaceSet."""
        parts = (self.table.slice(start, rows) for start in range(0, len(self.table), rows))
        return cut_out(parts, images, self.find, self.altered)


def sampled(faces: FaceSet, most: int) -> FaceSample:
    """All rows of a set, or `most` of them, drawn by chance, always the same ones.

    Raises:
        JobError: the data could not be read to its end.
    """
    drawn = np.sort(np.random.default_rng(SEED).permutation(faces.rows)[:most])
    parts: list[pa.Table] = []
    start = 0
    for table in faces.tables():
        inside = drawn[(drawn >= start) & (drawn < start + len(table))] - start
        parts.append(table.take(pa.array(inside)))
        start += len(table)
    table = pa.concat_tables(parts)
    numbers = pa.array([str(number) for number in range(len(table))])
    table = table.set_column(table.schema.get_field_index("id"), "id", numbers)
    return FaceSample(faces.data, faces.split, faces.find, table)
