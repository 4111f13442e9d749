"""`cilf.read`: the labels of the current model as a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf import schema
from cilf.errors import JobError, UsageError
from cilf.labelling.current import current_model
from cilf.labelling.label_files import reading
from cilf.manifest.failures import told
from cilf.storage import CHECKING, Location, files, locate

_THREADS = 16
_ATTEMPTS = 3
"""Listings of the label files. A compaction removes files that it has merged; the next listing has the merged one."""

_MODEL, _FACE, _THUMBNAIL = "model", "face", "thumbnail"


def read(
    output: str | os.PathLike[str],
    *,
    per: Literal["photograph", "face"] = "photograph",
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read the labels of the current model, which OUTPUT/current.json names.

    All rows are in memory at once. For labels that do not fit, query the Parquet files with DuckDB or Polars.

    Args:
        output: folder or URL that `cilf label` has written into.
        per: photograph: one row per photograph, with the columns of the label files and `model`. face: one row per
            face, with the columns of its photograph, the position `face` of the face among those of the photograph (0:
            the largest), and the fields of the column `faces` as columns. A column of your own manifest that has the
            name of one of them is called own_<name>. Photographs without faces have no row.
        columns: the columns of photographs to read; default all. With per="face", the fields of faces come in addition.

    Returns:
        A table in no particular order. Its `to_pandas()` is a DataFrame; Polars (`polars.from_arrow`) and DuckDB
        (`SELECT ... FROM labels`) read it as it is.

    Raises:
        UsageError: there are no labels, or no such column.
        JobError: a label file is damaged.
    """
    if per not in ("photograph", "face"):
        raise UsageError(f"per is {per!r}: expected 'photograph' or 'face'")
    place = locate(os.fspath(output), CHECKING)
    with told("cannot read OUTPUT", place):
        current = current_model(place)
    if current is None:
        raise UsageError(
            f"there are no labels under {place.url}: expected Parquet files in {place.url}/labels/model=…/, as "
            "`cilf label INPUT OUTPUT` writes them"
        )
    wanted = None if columns is None else [*columns, *(["faces"] if per == "face" else [])]
    labels = place / "labels" / f"model={current.model}"
    table = _once(_table(labels, wanted))
    model = pa.array([current.model] * len(table)).dictionary_encode()
    table = table.append_column(_MODEL, model)
    names = table.column_names if columns is None else list(dict.fromkeys(columns))
    if unknown := [name for name in names if name not in table.column_names]:
        raise _no_column(unknown[0], [*_names(labels), _MODEL])
    return table.select(names) if per == "photograph" else _per_face(table, [n for n in names if n != "faces"])


def _table(labels: Location, columns: Sequence[str] | None) -> pa.Table:
    """All rows of one model, with `id` in any case."""
    for _ in range(_ATTEMPTS):
        try:
            with ThreadPoolExecutor(_THREADS) as threads:
                parts = list(threads.map(partial(_part, columns=columns), files(labels, ".parquet")))
            return pa.concat_tables(parts, promote_options="permissive").unify_dictionaries()
        except FileNotFoundError:
            continue
    raise JobError(f"files in {labels.url} disappeared while they were read: repeat the call to read the new ones")


def _part(file: Location, columns: Sequence[str] | None) -> pa.Table:
    with reading(file), file.fs.open(file.path, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        if columns is None:
            return parquet.read()
        there = set(parquet.schema_arrow.names)
        return parquet.read([name for name in dict.fromkeys(["id", *columns]) if name in there])


def _once(table: pa.Table) -> pa.Table:
    """Each row once: while a compaction lasts, its rows may be in two files."""
    _, first = np.unique(table["id"].to_numpy(), return_index=True)
    return table if len(first) == len(table) else table.take(np.sort(first))


def _names(labels: Location) -> list[str]:
    """The columns that any of the files has."""
    found: dict[str, None] = {}
    for file in files(labels, ".parquet"):
        with reading(file), file.fs.open(file.path, "rb") as opened:
            found |= dict.fromkeys(pq.read_schema(opened).names)
    return list(found)


def _no_column(name: str, there: Sequence[str]) -> UsageError:
    near = get_close_matches(name, there, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"they have {', '.join(there)}"
    return UsageError(f"the labels have no column {name!r}: {hint}")


def _per_face(table: pa.Table, names: list[str]) -> pa.Table:
    faces = table["faces"].combine_chunks()
    lengths = pc.list_value_length(faces).fill_null(0).to_numpy()
    rows = np.repeat(np.arange(len(table)), lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    ours = {_FACE: pa.array((np.arange(len(rows)) - first).astype(np.int32))}
    flat = faces.flatten()
    ours |= dict(zip((field.name for field in faces.type.value_type), flat.flatten(), strict=True))
    if schema.THUMBNAILS.name in names:
        ours[_THUMBNAIL] = _thumbnails(table, lengths)
    own = table.select([name for name in names if name != schema.THUMBNAILS.name]).take(rows)
    own = own.rename_columns([_renamed(name, {*ours, *own.column_names}, ours) for name in own.column_names])
    return pa.table({**dict(zip(own.column_names, own.columns, strict=True)), **ours})


def _renamed(name: str, taken: set[str], ours: dict[str, pa.Array]) -> str:
    new = name
    while name in ours and new in taken:
        new = f"own_{new}"
    return new


def _thumbnails(table: pa.Table, lengths: np.ndarray) -> pa.Array:
    """The thumbnail of each face; null in photographs that were labelled without."""
    rows = zip(table[schema.THUMBNAILS.name].to_pylist(), lengths.tolist(), strict=True)
    return pa.array([file for found, number in rows for file in (found or [None] * number)], pa.binary())
