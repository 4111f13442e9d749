"""Reads labelled photographs from any supported files -> RAW rows in one Ray dataset, in the order of the files.

Parquet       a column `image` (encoded bytes, or a struct that holds them), `uri` or `path`
CSV, JSONL    a column `uri` or `path`
WebDataset    tars of `<key>.jpg` (or another kind of image) with `<key>.json`, which holds the labels

Subfolders whose names are labels, such as `subject=007`, provide these labels for rows that lack them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cilf.datasets.data_files import data_files
from cilf.errors import UsageError
from cilf.storage import Location, locate, problem
from cilf.training.lists import csv_columns, csv_rows, json_rows
from cilf.training.raw import RAW, Row, folder_labels, raw_table, wanted
from cilf.training.tables import check_columns, parquet_rows, row_groups
from cilf.training.tars import tar_rows

if TYPE_CHECKING:
    from ray.data import Dataset

_KINDS = {
    "Parquet": (".parquet",),
    "tar": (".tar", ".tar.gz", ".tgz"),
    "CSV": (".csv", ".csv.gz"),
    "JSON lines": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
}
_BLOCK_ROWS = 128
TASK_CPUS = 0.5
"""CPUs requested by a task that reads or decodes: it waits for the store, or shares a core with a training worker."""


@dataclass(frozen=True)
class Source:
    """The files of labelled photographs, of one kind."""

    url: str
    kind: str
    files: list[Location]
    split: str | None
    """The split to read; None for every row."""
    groups: list[int]
    """Number of row groups of each Parquet file."""
    unread: list[str]
    """Descriptions of files of other kinds, which are not read."""

    def dataset(self) -> Dataset:
        """The rows as a Ray dataset: RAW; read by Ray tasks, lists in this process."""
        import ray.data

        if self.kind in ("CSV", "JSON lines"):  # hold no images, so they are read in this process
            tables = [table for file in self.files for table in _tables(self._listed(file), file)]
            return ray.data.from_arrow(tables)
        parts = [{"file": file.url, "group": group} for file, group in self._parts()]
        if not parts:
            return ray.data.from_arrow(RAW.empty_table())
        found = ray.data.from_items(parts, override_num_blocks=len(parts))
        read = partial(_read, kind=self.kind, split=self.split, source=self._path)
        rows = found.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=TASK_CPUS)
        return rows.repartition(target_num_rows_per_block=_BLOCK_ROWS)

    def labels(self) -> Iterator[Row] | None:
        """The rows without images, one by one, read in this process; None if that required reading all images too."""
        if self.kind in ("CSV", "JSON lines"):
            return (row for file in self.files for row in self._listed(file))
        if self.kind == "tar" and self.files[0].scheme != "file":
            return None
        packed = partial(_packed, kind=self.kind, split=self.split, source=self._path, with_images=False)
        return (row for file, group in self._parts() for row in packed(file, group))

    def _listed(self, file: Location) -> Iterator[Row]:
        given = folder_labels(file, self._path)
        found = csv_rows(file) if self.kind == "CSV" else json_rows(file)
        rows = ({**given, **row} for row in found)
        return (row for row in rows if row.get("wrong") or wanted(row, self.split))

    @property
    def _path(self) -> str:
        return locate(self.url).path

    def _parts(self) -> list[tuple[Location, int]]:
        counts = self.groups or [1] * len(self.files)
        return [(file, group) for file, count in zip(self.files, counts, strict=True) for group in range(count)]


def open_source(url: str, split: str | None) -> Source:
    """Find the files, and check their columns.

    Raises:
        UsageError: the data does not exist, or has no column for image, age or split.
    """
    source = locate(url)
    try:
        found = data_files(source)
    except FileNotFoundError as error:
        raise UsageError(f"found no labelled photographs at {url}: the path does not exist") from error
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read labelled photographs: {problem(error, url)}") from error
    by_kind = {kind: [f for f in found if f.path.lower().endswith(ends)] for kind, ends in _KINDS.items()}
    there = {kind: files for kind, files in by_kind.items() if files}
    if not there:
        raise UsageError(f"{url} holds no Parquet, CSV, JSON lines or tar files")
    kind, *others = there
    unread = [f"{len(there[other])} {other} files" for other in others]
    return Source(url, kind, there[kind], split, _checked(kind, there[kind], split, source.path), unread)


def _checked(kind: str, files: list[Location], split: str | None, source: str) -> list[int]:
    """Check the files' columns; return the number of row groups of each Parquet file, for other kinds nothing."""
    given = [folder_labels(file, source) for file in files]
    with ThreadPoolExecutor() as pool:
        if kind == "CSV":
            for file, columns, labels in zip(files, pool.map(csv_columns, files), given, strict=True):
                check_columns(columns, labels, file.url, split)
        return list(pool.map(partial(row_groups, split=split), files, given)) if kind == "Parquet" else []


def _read(parts: pa.Table, kind: str, split: str | None, source: str) -> Iterator[pa.Table]:
    """Read parts of files, in a Ray task."""
    for part in parts.to_pylist():
        file = locate(part["file"])
        yield from _tables(_packed(file, part["group"], kind, split, source, with_images=True), file)


def _packed(file: Location, group: int, kind: str, split: str | None, source: str, with_images: bool) -> Iterator[Row]:
    given = folder_labels(file, source)
    if kind == "tar":
        return tar_rows(file, split, with_images, given)
    return parquet_rows(file, group, split, with_images, given)


def _tables(rows: Iterable[Row], file: Location) -> Iterator[pa.Table]:
    """Tables of RAW with up to _BLOCK_ROWS rows each; at least one, which is empty if there are no rows."""
    left = iter(rows)
    first: list[Any] = list(islice(left, _BLOCK_ROWS))
    yield raw_table(first, file)
    while more := list(islice(left, _BLOCK_ROWS)):
        yield raw_table(more, file)
