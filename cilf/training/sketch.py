"""A model's memory of what it has learned from: a few hashes, by which a later run knows those faces again.

Of all faces those with the smallest hashes are noted. Whoever holds out faces at random that a model has learned from
meets some of these, whatever the files are called by now; a handful of such faces may go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

SIZE = 512


def sketch(contents: pa.ChunkedArray, earlier: Iterable[str] = ()) -> list[str]:
    """The smallest hashes, 16 hex digits each, at most SIZE of them, in order.

    Args:
        contents: int64, cilf.training.examine.ROW's `content`.
        earlier: sketches of what has been learned before that.
    """
    return sorted({*_hashes(contents), *earlier})[:SIZE]


def met(noted: Iterable[str], contents: pa.ChunkedArray) -> int:
    """How many faces are among those noted."""
    return len(set(noted) & _hashes(contents))


def _hashes(contents: pa.ChunkedArray) -> set[str]:
    return {f"{value % 2**64:016x}" for value in contents.to_pylist() if value is not None}
