"""A sketch of the faces that a model was trained on: a few hashes, by which a later run can recognise those faces.

The sketch holds the smallest hashes of all faces. If a run holds out faces at random that the model was trained on,
some of them are in the sketch, even if the files have been renamed; a handful of such faces may go undetected.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

SIZE = 512


def sketch(contents: pa.ChunkedArray, earlier: Iterable[str] = ()) -> list[str]:
    """The smallest hashes, 16 hex digits each, at most SIZE of them, in order.

    Args:
        contents: int64, cilf.training.examine.ROW's `content`.
        earlier: hashes from the sketch of earlier training.
    """
    return sorted({*_hashes(contents), *earlier})[:SIZE]


def met(noted: Iterable[str], contents: pa.ChunkedArray) -> int:
    """Number of faces that are in the sketch `noted`."""
    return len(set(noted) & _hashes(contents))


def _hashes(contents: pa.ChunkedArray) -> set[str]:
    return {f"{value % 2**64:016x}" for value in contents.to_pylist() if value is not None}
