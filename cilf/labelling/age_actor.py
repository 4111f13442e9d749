"""The second stage: crops -> age estimates. Each actor is one replica of the model."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cilf import schema
from cilf.cores import cores
from cilf.labelling.batch_size import fastest
from cilf.memory import keep_freed_memory
from cilf.storage import model_folder

if TYPE_CHECKING:
    from cilf.estimator import Estimates, Estimator, Precision


class AgeActor:
    """Loads the model once and labels blocks with it."""

    def __init__(
        self, model: str, precision: Precision, compiled: bool, batch_sizes: Sequence[int], actors_per_node: int
    ) -> None:
        """
        Args:
            model: name, path or URL of the model. The weights are not passed: every node loads them itself.
            precision: float32 or bfloat16.
            compiled: whether the network is compiled first.
            batch_sizes: candidate numbers of crops per model call, in ascending order; the fastest is used.
            actors_per_node: number of replicas that share this machine's cores.
        """
        keep_freed_memory()
        # Ray sets OMP_NUM_THREADS=1 in every worker, so torch would use a single thread.
        threads = max(1, cores() // actors_per_node)
        self.estimator = self.load(model, precision, compiled, threads)
        self.batch_size = batch_sizes[0] if len(batch_sizes) == 1 else fastest(self.estimator, batch_sizes)
        gc.freeze()  # Ray makes every process collect garbage now and then; the objects made so far are permanent.
        self._clock = threading.Lock()
        self._told_until = 0.0

    def load(self, model: str, precision: Precision, compiled: bool, threads: int) -> Estimator:
        """Load the replica of the model."""
        from cilf.estimator import Estimator

        return Estimator(model_folder(model), precision=precision, compiled=compiled, threads=threads)

    def __call__(self, table: pa.Table) -> pa.Table:
        """schema.FETCHED -> schema.JUDGED, both with the user's own columns; rows in the same order.

        An exception is due to the model, not to a single photograph, so it makes all rows schema.BROKEN.
        """
        table = table.combine_chunks()
        start = time.perf_counter()
        try:
            faces = self._faces(table)
        except Exception:
            faces = pa.array([[]] * len(table), schema.JUDGED.field("faces").type)
            table = _replaced(table, "status", pa.array([schema.BROKEN] * len(table)))
            table = _replaced(table, "reason", pa.array([traceback.format_exc()] * len(table)))
        seconds = np.full(len(table), self._seconds_since(start) / max(1, len(table)), np.float32)
        wanted = schema.extend(schema.JUDGED, [f for f in table.schema if f.name not in schema.FETCHED.names])
        return (
            table.drop_columns(["boxes", "crops"])
            .append_column(schema.JUDGED.field("faces"), faces)
            .append_column(schema.JUDGED.field("model_s"), pa.array(seconds))
            .append_column(schema.JUDGED.field("batch_size"), pa.array([self.batch_size] * len(table), pa.int32()))
            .select(wanted.names)
        )

    def _seconds_since(self, start: float) -> float:
        """Seconds since `start`, without those that a concurrent call has already reported."""
        with self._clock:
            start, self._told_until = max(start, self._told_until), time.perf_counter()
            return self._told_until - start

    def _faces(self, table: pa.Table) -> pa.ListArray:
        return judged_faces(table, self.estimator, self.batch_size)


def judged_faces(table: pa.Table, estimator: Estimator, batch_size: int) -> pa.ListArray:
    """Estimate the ages of all faces of a block: schema.FETCHED -> schema.FACE per image.

    Args:
        batch_size: crops per model call.
    """
    crops_NHWC = crops(table["crops"], estimator.images.shape)
    starts = range(0, len(crops_NHWC), batch_size)
    judged = [estimator(crops_NHWC[start : start + batch_size]) for start in starts]
    return _faces(table["boxes"].combine_chunks(), judged)


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)


def crops(column: pa.ChunkedArray, shape: tuple[int, int, int]) -> np.ndarray:
    """All crops of a block, uint8 [N, *shape], in the order of their images. Nothing is copied."""
    array = column.combine_chunks()
    if not len(array):
        return np.empty((0, *shape), np.uint8)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    values = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    return values[offsets[0] : offsets[-1]].reshape(-1, *shape)


def _faces(boxes: pa.ListArray, judged: list[Estimates]) -> pa.ListArray:
    """Boxes per image, and estimates for all of them in order -> schema.FACE per image."""
    flat = boxes.flatten()
    columns = dict(zip(flat.type.names, flat.flatten(), strict=True))
    for field in list(schema.FACE)[len(schema.BOX) :]:
        values = [getattr(estimates, field.name) for estimates in judged]
        columns[field.name] = pa.array(np.concatenate(values) if values else [], field.type)
    structs = pa.StructArray.from_arrays([columns[field.name] for field in schema.FACE], fields=list(schema.FACE))
    lengths = boxes.value_lengths().to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()), structs)
