"""The labels of an OUTPUT, with a record of which rows have been claimed.

Two passes make a table equal to the labels without holding either in memory. First, each row of the table claims the
same row of the labels; table rows that find none have to be removed. Then the label rows that are still unclaimed are
claimed in turn, and have to be added. A row is identified by its run and its id: an object's row changes only when
another run replaces it. 9 bytes per row are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from cilf import schema
from cilf.column_types import fitted_table
from cilf.errors import JobError, UsageError
from cilf.labelling.columns import common
from cilf.labelling.label_files import reading
from cilf.publishing.table_types import table_type
from cilf.storage import Location, files

_THREADS = 32
_SMALL = 1_000_000  # bytes that one request fetches from a file's end, which is usually the whole file
_BATCH_ROWS = 8192  # thumbnails of a row may be 100 kB
_BATCHES_AHEAD = 4
_FILES_AHEAD = 4

KEYS = ["id", "run"]

_OURS = [pa.field(field.name, table_type(field.type, times=False), field.nullable) for field in schema.LABELS]


@dataclass
class _Run:
    ids: np.ndarray
    """Sorted int64."""
    claimed: np.ndarray
    """Whether each id has been claimed, bool."""


@dataclass(frozen=True)
class _File:
    place: Location
    schema: pa.Schema
    runs: frozenset[str]

    @property
    def own(self) -> pa.Schema:
        """The user columns of the file."""
        return pa.schema([field for field in self.schema if field.name not in schema.LABELS.names])


class Labels:
    """The contents of the label files when this object was made.

    Args:
        models: the folders OUTPUT/labels/model=<fingerprint>.

    Raises:
        UsageError: files of two runs do not fit into one table.
        JobError: there are two rows for one object from one run.
    """

    def __init__(self, models: list[Location]) -> None:
        self._runs: dict[str, _Run] = {}
        self._files: dict[str, list[_File]] = {}
        ids: dict[str, list[np.ndarray]] = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            for model in models:
                name = model.path.rpartition("model=")[2]
                for file, keys in threads.map(_opened, files(model, ".parquet")):
                    self._files.setdefault(name, []).append(file)
                    for run in file.runs:
                        ids.setdefault(run, []).append(of_run(keys, run))
        for run in list(ids):
            of = np.sort(np.concatenate(ids.pop(run)))
            if (of[1:] == of[:-1]).any():
                raise JobError(
                    f"the labels have two rows for one object from run {run}: remove the file of one of them"
                )
            self._runs[run] = _Run(of, np.zeros(len(of), bool))

    def __len__(self) -> int:
        return sum(len(run.ids) for run in self._runs.values())

    @property
    def unclaimed(self) -> int:
        """Number of unclaimed rows."""
        return sum(len(run.ids) - int(run.claimed.sum()) for run in self._runs.values())

    @property
    def unclaimed_runs(self) -> list[str]:
        """The runs of the unclaimed rows, sorted."""
        return sorted(name for name, run in self._runs.items() if not run.claimed.all())

    def claim(self, keys: pa.RecordBatch) -> np.ndarray:
        """Claim the rows with these KEYS that the labels have and that are not claimed yet; return which they are, bool
        [rows]."""
        held = np.zeros(keys.num_rows, bool)
        runs, ids = keys["run"], keys["id"].to_numpy(zero_copy_only=False)
        for name in pc.unique(runs).to_pylist():
            if name in self._runs:
                run = self._runs[name]
                (rows,) = pc.equal(runs, name).to_numpy(zero_copy_only=False).nonzero()
                places = np.searchsorted(run.ids, ids[rows]).clip(max=len(run.ids) - 1)
                new = (run.ids[places] == ids[rows]) & ~run.claimed[places]
                _, first = np.unique(places[new], return_index=True)
                rows, places = rows[new][first], places[new][first]
                run.claimed[places] = True
                held[rows] = True
        return held

    @property
    def runs(self) -> list[str]:
        """All runs that have rows, sorted."""
        return sorted(self._runs)

    def release(self, runs: list[str]) -> None:
        """Release all claims on the rows of these runs."""
        for name in runs:
            if name in self._runs:
                self._runs[name].claimed[:] = False

    def columns(self, times: bool) -> pa.Schema:
        """The columns of all files and `model`, with types that a table has; see cilf.publishing.table_types. A user
        column without a value in any file is left out: its type is not known yet.

        Args:
            times: whether the table has a type for the time of day.

        Raises:
            UsageError: a column has conflicting types, or a type that no table has.
        """
        found = {file.place: file.own for of_model in self._files.values() for file in of_model}
        try:
            own = common(found)
        except TypeError as error:
            raise UsageError(
                f"a column of your own changes its type from one run to another: {error}; a table cannot hold both: "
                "label into another OUTPUT, or give the column in the manifest the type of the first run"
            ) from error
        fields = [field for column in own if (field := _field(column, times))]
        return pa.schema([*_OURS, *fields, pa.field("model", pa.string(), nullable=False)])

    def claim_rest(self, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Claim all unclaimed rows, and yield them with the columns and types of `wanted`, a few thousand at a time.

        Raises:
            UsageError: a value does not fit its type.
            JobError: rows have been removed in the meantime.
        """
        missing = set(self.unclaimed_runs)
        for model, found in self._files.items():
            wanting = [file for file in found if file.runs & missing]
            for batch in _rows(wanting):
                new = batch.filter(pa.array(self.claim(batch)))
                if new.num_rows:
                    yield from _as_wanted(new, model, wanted)
        if self.unclaimed:
            raise JobError(
                f"{self.unclaimed:,} rows were removed while they were read: repeat the command to read the new files"
            )


def of_run(keys: pa.Table, run: str) -> np.ndarray:
    """The ids of one run among KEYS, int64."""
    return keys.filter(pc.equal(keys["run"], run))["id"].to_numpy()


def _opened(place: Location) -> tuple[_File, pa.Table]:
    end = place.fs.cat_file(place.path, start=-_SMALL)
    if len(end) < _SMALL:
        with reading(place):
            opened = pq.ParquetFile(pa.BufferReader(end))
            columns, keys = opened.schema_arrow, opened.read(KEYS)
    else:
        with reading(place), place.fs.open(place.path, "rb") as file:
            opened = pq.ParquetFile(file)
            columns, keys = opened.schema_arrow, opened.read(KEYS)
    return _File(place, columns, frozenset(pc.unique(keys["run"]).to_pylist())), keys


def _field(column: pa.Field, times: bool) -> pa.Field | None:
    """A column with its type in a table; None if the type is not known."""
    try:
        kind = table_type(column.type, times)
    except TypeError as error:
        raise UsageError(
            f"no such table can hold the column {column.name} of the labels, which has values of type {error}: give "
            "the column another type in the manifest, or leave it out, and label into another OUTPUT"
        ) from error
    return None if kind is None else pa.field(column.name, kind)


def _rows(found: list[_File]) -> Iterator[pa.RecordBatch]:
    """The rows of label files, unchanged."""
    alike: dict[pa.Schema, list[_File]] = {}
    for file in found:
        alike.setdefault(file.schema, []).append(file)
    for columns, group in alike.items():
        paths = [file.place.path for file in group]
        dataset = pads.dataset(paths, schema=columns, filesystem=group[0].place.fs, format="parquet")
        yield from dataset.scanner(
            batch_size=_BATCH_ROWS, batch_readahead=_BATCHES_AHEAD, fragment_readahead=_FILES_AHEAD
        ).to_batches()


def _as_wanted(batch: pa.RecordBatch, model: str, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of one model with the columns and types of a table."""
    table = pa.Table.from_batches([batch])
    table = table.append_column("model", pa.array([model] * len(table), pa.string()))
    try:
        yield from fitted_table(table, wanted, cut=True).to_batches()
    except pa.ArrowException as error:
        raise UsageError(f"the table cannot hold a value of a column, and nothing was committed: {error}") from error
