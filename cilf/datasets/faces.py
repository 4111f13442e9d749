"""Labelled faces in memory: Parquet of encoded images -> uint8 crops and ages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from cilf.errors import UsageError
from cilf.images.decode import decode


@dataclass(frozen=True)
class Faces:
    """N labelled faces."""

    images_NHWC: np.ndarray
    """uint8 [N, S, S, 3], RGB."""
    ages_N: np.ndarray
    """float32 [N], years."""
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ages_N)

    def take(self, rows: np.ndarray) -> Faces:
        """The given rows, int [M], in their order."""
        return Faces(self.images_NHWC[rows], self.ages_N[rows], [self.ids[row] for row in rows])


def read_faces(path: str, split: str, size: int) -> Faces:
    """All faces of a split, decoded as labelling decodes them, to `size` pixels.

    Raises:
        UsageError: no such data, a column is missing, or no rows are of that split.
    """
    try:
        table = pads.dataset(path).to_table(columns=["id", "age", "image"], filter=pc.field("split") == split)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path} is not labelled faces (Parquet with id, image, age, split): {error}") from error
    if not len(table):
        raise UsageError(f"{path} has no rows with split = {split!r}")
    with ThreadPoolExecutor() as pool:
        crops = list(
            pool.map(lambda data: decode(data.as_py(), size, max_pixels=10**8).crop, table["image"], chunksize=64)
        )
    ages_N = table["age"].to_numpy().astype(np.float32)
    return Faces(np.stack(crops), ages_N, table["id"].to_pylist())
