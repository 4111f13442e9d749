"""A sample of labelled faces, held in memory as encoded files, so that they can be read repeatedly."""

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
    """Rows of a FaceSet; their ids are the numbers 0, 1, 2 ..."""

    data: str
    split: str
    find: bool
    table: pa.Table
    """The rows, with the columns of cilf.datasets.face_rows.Columns."""
    altered: Alteration | None = None
    """Applied to each file before it is decoded."""

    @property
    def rows(self) -> int:
        return len(self.table)

    def batches(self, images: Images, rows: int = 64) -> Iterator[Faces]:
        """Like FaceSet.batches."""
        parts = (self.table.slice(start, rows) for start in range(0, len(self.table), rows))
        return cut_out(parts, images, self.find, self.altered)


def sampled(faces: FaceSet, most: int) -> FaceSample:
    """All rows of a set, or at most `most` of them, drawn at random with a fixed seed.

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
