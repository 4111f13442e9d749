"""`cilf.AgeLabeller`: a stage for pipelines of Ray Data."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cilf.api.faces import decoded
from cilf.api.in_process import COLUMNS, InProcess
from cilf.config import DEFAULT_MODEL, FaceMode
from cilf.errors import UsageError
from cilf.images.decode import DecodeError, Source
from cilf.images.fetch import FetchError
from cilf.memory import keep_freed_memory
from cilf.own_process import prepare
from cilf.storage import model_folder

_SOURCES = ("bytes", "image", "uri")
"""Names of the columns that hold photographs, in the order in which they are looked for."""

_NULL = FetchError("missing", "the column has no value in this row")

Batch = dict[str, Any]
"""Columns by name: numpy arrays, or lists, of the same length."""


class AgeLabeller:
    """Labels the ages of faces in batches of photographs, for `ray.data.Dataset.map_batches`.

        ds = ray.data.read_images("s3://bucket/photos/", mode="RGB")
        ds = ds.map_batches(cilf.AgeLabeller, batch_size=64, concurrency=2)

    Every instance loads one replica of the model. It uses a GPU if Ray gives it one (`num_gpus=1`), and as many threads
    as Ray gives it CPUs (`num_cpus`).

    Args:
        model: name of a bundled model, or a path or URL of a model folder that every machine can read.
        faces: how faces are found: detect, auto or none, as in `cilf.ages`.
        column: the column that holds the photographs: encoded files (bytes), decoded images (uint8 [H, W, 3], RGB) or
            paths and URLs (text). Default: `bytes`, `image` or `uri`, the first of them that a batch has.

    Raises:
        UsageError, ModelFolderError: the arguments are wrong, or there is no such model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        faces: FaceMode = "detect",
        column: str | None = None,
    ) -> None:
        from cilf.estimator import Estimator  # imports torch, which the driver of a pipeline does not need

        device = None
        if _in_worker():
            prepare()
            keep_freed_memory()
            device = _device()
        self._here = InProcess(Estimator(model_folder(os.fspath(model)), device=device), faces)
        self._column = column

    def __call__(self, batch: Batch) -> Batch:
        """Add the columns status, reason, width, height, face_count and faces of the labels to a batch.

        A photograph that cannot be read has a status and a reason like those of `cilf label`, and no faces.

        Raises:
            UsageError: the batch has no column of photographs, or has one of these columns already.
        """
        if not isinstance(batch, Mapping):
            raise UsageError(
                f"a batch must be a dict of numpy arrays, not {type(batch).__name__}: call map_batches with "
                'batch_format="numpy"'
            )
        if twice := [name for name in COLUMNS if name in batch]:
            raise UsageError(f"the batch has the column {twice[0]} already: rename it with Dataset.rename_columns")
        return {**batch, **_columns(self._labels(batch[self._source(batch)]))}

    def _source(self, batch: Batch) -> str:
        wanted = _SOURCES if self._column is None else (self._column,)
        for name in wanted:
            if name in batch:
                return name
        raise UsageError(
            f"the batch has no column {' or '.join(wanted)}, only {', '.join(batch)}: name the column of the "
            'photographs with fn_constructor_kwargs={"column": ...}'
        )

    def _labels(self, values: Sequence[Any]) -> pa.Table:
        if any(isinstance(value, str) for value in values):
            return self._here.fetch([None if value is None else str(value) for value in values])
        return self._here.label([_photograph(value) for value in values])


def _photograph(value: Any) -> Source | DecodeError | FetchError:
    if value is None:
        return _NULL
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.ndarray):
        return decoded([value])[0]
    raise UsageError(f"a photograph must be bytes, an image or a URI, not {type(value).__name__}")


def _columns(table: pa.Table) -> Batch:
    """Columns as Ray takes them: arrays of objects, with None for null, and a list of dicts for each row's faces. The
    numbers in the dicts are numpy's, so that they keep their types."""
    columns = {name: _objects(table[name].to_pylist()) for name in COLUMNS if name != "faces"}
    faces = table["faces"].combine_chunks()
    fields = [column.to_numpy(zero_copy_only=False) for column in faces.flatten().flatten()]
    names = [field.name for field in faces.type.value_type]
    flat = iter([dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)])
    columns["faces"] = _objects([[next(flat) for _ in range(len(row))] for row in faces])
    return columns


def _objects(values: list[Any]) -> np.ndarray:
    column = np.empty(len(values), object)
    for row, value in enumerate(values):  # an assignment of the whole list would make lists of lists an array
        column[row] = value
    return column


def _in_worker() -> bool:
    """Whether this process is a worker of Ray."""
    if "ray" not in sys.modules:
        return False
    import ray

    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _device() -> str:
    """The device that Ray has given to this worker."""
    import ray

    return "cuda" if ray.get_runtime_context().get_accelerator_ids().get("GPU") else "cpu"
