"""The second stage: crops -> judged ages. One actor is one replica of the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cilf import schema
from cilf.storage import model_folder

if TYPE_CHECKING:
    from cilf.estimator import Estimates, Estimator, Precision


class AgeActor:
    """Loads the model once and labels blocks with it."""

    def __init__(self, model: str, precision: Precision, batch_size: int, actors_per_node: int) -> None:
        """
        Args:
            model: name, path or URL of the model. Not the weights: every node loads them from close by.
            precision: float32 or bfloat16.
            batch_size: crops that go through the model at once.
            actors_per_node: how many replicas share this machine's cores.
        """
        import torch

        from cilf.estimator import Estimator

        # Ray gives every worker OMP_NUM_THREADS=1, which halves a model on the CPU.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // actors_per_node))
        self.estimator: Estimator = Estimator(model_folder(model), precision=precision)
        self.batch_size = batch_size

    def __call__(self, table: pa.Table) -> pa.Table:
        """schema.FETCHED -> schema.JUDGED, both with the user's own columns; rows in the same order."""
        table = table.combine_chunks()
        wanted = schema.extend(schema.JUDGED, [f for f in table.schema if f.name not in schema.FETCHED.names])
        crops_NHWC = crops(table["crops"], self.estimator.image_size)
        judged = [
            self.estimator(crops_NHWC[start : start + self.batch_size])
            for start in range(0, len(crops_NHWC), self.batch_size)
        ]
        faces = _faces(table["boxes"].combine_chunks(), judged)
        return (
            table.drop_columns(["boxes", "crops"])
            .append_column(schema.JUDGED.field("faces"), faces)
            .select(wanted.names)
        )


def crops(column: pa.ChunkedArray, size: int) -> np.ndarray:
    """All crops of a block, uint8 [N, S, S, 3], faces of one image after another. Nothing is copied."""
    array = column.combine_chunks()
    if not len(array):
        return np.empty((0, size, size, 3), np.uint8)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    values = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    return values[offsets[0] : offsets[-1]].reshape(-1, size, size, 3)


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
