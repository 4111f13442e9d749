"""Ids of object versions, which anyone can compute, and the detection of ids that have occurred before."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf import schema

UNIDENTIFIED = pa.schema(list(schema.MANIFEST)[1:])
"""schema.MANIFEST without `id`."""


def object_id(uri: str, etag: str | None) -> int:
    """The identity of one version of an object: the first 8 bytes of SHA-256 over `uri`, NUL and `etag`."""
    digest = sha256(f"{uri}\0{etag or ''}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def object_ids(table: pa.Table) -> np.ndarray:
    """The object_id of each row of a table with `uri` and `etag`, int64."""
    named = pc.binary_join_element_wise(table["uri"], pc.fill_null(table["etag"], ""), "\0").cast(pa.binary())
    digests = b"".join([sha256(name).digest() for name in named.to_pylist()])
    return np.frombuffer(digests, ">i8")[::4].astype(np.int64)


def contains(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mask of the `ids` that are in `sorted_ids`: bool, like `ids`."""
    found = np.zeros(len(ids), dtype=bool)
    if len(sorted_ids):
        order = np.argsort(ids)  # Sorted, each search continues where the last one ended, which is six times faster.
        place = np.minimum(np.searchsorted(sorted_ids, ids[order]), len(sorted_ids) - 1)
        found[order] = sorted_ids[place] == ids[order]
    return found


class Seen:
    """A set of the ids seen so far. It takes 8 bytes per id, and for short times twice as much.

    The ids are kept in sorted runs, each more than twice as long as the next one, so that an id is merged into a longer
    run only a few times, however many ids there are.
    """

    def __init__(self, ids: np.ndarray | None = None) -> None:
        """Args: ids: int64, all different, that count as seen."""
        self._runs = [] if ids is None else [np.sort(ids)]
        self.repeats = 0
        """Number of ids that were repeats."""

    def new(self, ids: np.ndarray) -> np.ndarray:
        """Mask of the `ids` that are new, also within `ids` itself: bool. They then count as seen."""
        different, place = np.unique(ids, return_index=True)
        unknown = np.ones(len(different), dtype=bool)
        for run in self._runs:
            unknown &= ~contains(run, different)
        first = np.zeros(len(ids), dtype=bool)
        first[place[unknown]] = True
        self.repeats += len(ids) - int(unknown.sum())
        self._add(different[unknown])
        return first

    def _add(self, run: np.ndarray) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            # The stable sort detects the two sorted halves and merges them.
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
