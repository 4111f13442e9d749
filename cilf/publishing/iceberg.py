"""An Iceberg table that mirrors the labels of one OUTPUT.

Data files are immutable, so a file with rows to remove is rewritten without them (copy on write). Each publication is
one snapshot: old files are replaced by new ones at the moment that the catalog accepts it, and before that moment no
reader sees any of it.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import (
    ArrowScan,
    UnsupportedPyArrowTypeException,
    _dataframe_to_data_files,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.snapshots import Snapshot

from cilf.column_types import fitted_table
from cilf.errors import JobError, UsageError
from cilf.provenance import new_run_id
from cilf.publishing.catalogs import check_home, open_catalog, problem
from cilf.publishing.labels import KEYS, Labels
from cilf.publishing.table_types import grows, table_type

SOURCE = "cilf.output"
"""Table property: the OUTPUT that the table mirrors."""
RUNS = "cilf.runs"
"""Snapshot property: ids of the runs whose rows the snapshot adds, separated by commas."""
PUBLICATION = "cilf.publication"
"""Snapshot property: the id of the publication."""

_FILE_BYTES = 256_000_000  # in memory; on disk a quarter of it or less


@dataclass(frozen=True)
class _Stale:
    """A data file with rows to remove."""

    task: FileScanTask
    stands: np.ndarray
    """Whether each row stays, bool [rows]; empty: no row stays."""


class IcebergMirror:
    """A table NAMESPACE.NAME, in a catalog from pyiceberg's configuration, that mirrors the labels of OUTPUT.

    Raises:
        UsageError: there is no such catalog, it cannot be used, or the table mirrors something else.
    """

    def __init__(self, name: str, catalog: str, output: str) -> None:
        if "." not in name.strip("."):
            raise UsageError(
                f"{name} is not the name of an Iceberg table: expected NAMESPACE.NAME, such as photos.ages"
            )
        self._name, self._output = name, output
        self._catalog, self._catalog_name = open_catalog(catalog), catalog
        self._table = self._found()
        self._stale: list[_Stale] = []

    def _found(self) -> Table | None:
        name, output = self._name, self._output
        try:
            table = self._catalog.load_table(name)
        except NoSuchTableError:
            return None
        except Exception as error:
            raise UsageError(f"cannot open the table {name}: {problem(error, self._catalog_name)}") from error
        source = table.properties.get(SOURCE)
        if source is None:
            raise UsageError(
                f"the table {name} was not made by cilf publish, which would replace its rows: choose another table"
            )
        if source != output:
            raise UsageError(
                f"the table {name} mirrors {source}, and publishing {output} would replace its rows: choose another "
                f"table, or, if {source} has moved there, first run: pyiceberg properties set table {name} {SOURCE} "
                f"{output}"
            )
        return table

    def compare(self, labels: Labels) -> int:
        """Claim every row of the labels that the table has; return the number of table rows that have to be removed."""
        self._table = self._found()  # The previous holder of the lease may have published the labels.
        if self._table is None:
            return 0
        for task in self._table.scan().plan_files():
            stands = [labels.claim(batch) for batch in _read(self._table.transaction(), task, KEYS)]
            if not all(held.all() for held in stands):
                self._stale.append(_Stale(task, np.concatenate(stands)))
        return sum(int((~file.stands).sum()) for file in self._stale)

    def commit(self, labels: Labels, may_commit: Callable[[], None]) -> str:
        """Add the rows of the labels that the table lacks, and remove those that `compare` has found.

        Args:
            may_commit: raises an exception if nothing may be committed any more.

        Returns:
            A name for the new state of the table.

        Raises:
            UsageError: the table cannot hold a column.
            JobError: the labels or the table changed meanwhile; nothing was committed.
        """
        runs = ",".join(labels.unclaimed_runs)
        publication = new_run_id()
        try:
            transaction = self._staged(labels, {RUNS: runs, PUBLICATION: publication})
            may_commit()
        except (UsageError, JobError):
            raise
        except Exception as error:
            raise JobError(f"nothing was committed to {self._name}: {_line(error)}") from error
        try:
            committed = transaction.commit_transaction().current_snapshot()
        except (CommitFailedException, ValidationException, TableAlreadyExistsError) as error:
            raise JobError(
                f"another writer changed {self._name} at the same time, and nothing was committed ({error}): repeat "
                "the command to start from the new state"
            ) from error
        except Exception as error:
            committed = self._published(publication, error)
        assert committed is not None
        return f"snapshot {committed.snapshot_id}"

    def _staged(self, labels: Labels, properties: dict[str, str]) -> Transaction:
        """A transaction whose data files are written and that only has to be committed."""
        columns = labels.columns(times=True)
        replaced = self._replaced(columns)
        if self._table is not None and replaced:
            self._stale = [_Stale(task, np.empty(0, bool)) for task in self._table.scan().plan_files()]
            labels.release(labels.runs)
        transaction = self._begin(columns, replaced)
        columns = schema_to_pyarrow(transaction.table_metadata.schema(), include_field_ids=False)
        standing = itertools.chain.from_iterable(_standing(transaction, file) for file in self._stale)
        new = _written(transaction, _parts(itertools.chain(standing, labels.claim_rest(columns)), columns))
        update = transaction.update_snapshot(snapshot_properties=properties)
        producer: Any = update.overwrite() if self._stale else update.fast_append()
        with producer as snapshot:
            for file in self._stale:
                snapshot.delete_data_file(file.task.file)
            for data_file in new:
                snapshot.append_data_file(data_file)
        return transaction

    def _published(self, publication: str, error: Exception) -> Snapshot:
        """The snapshot of a publication that ended with an error but may have been committed nevertheless.

        Raises:
            JobError: it was not committed, or this cannot be determined.
        """
        try:
            table = self._found()
            snapshots = table.snapshots() if table is not None else []
        except Exception as unreadable:
            raise JobError(
                f"publishing to {self._name} failed ({_line(error)}), and whether its rows are in the table cannot be "
                f"read ({_line(unreadable)}): repeat the command to find out and to publish what is missing"
            ) from error
        for snapshot in snapshots:
            if snapshot.summary and snapshot.summary.get(PUBLICATION) == publication:
                return snapshot
        raise JobError(f"nothing was committed to {self._name}: {_line(error)}") from error

    def _replaced(self, columns: pa.Schema) -> list[str]:
        """The columns that have to be replaced, because no reader could read their values from both old data files and
        new ones."""
        if self._table is None:
            return []
        before = schema_to_pyarrow(self._table.schema(), include_field_ids=False)
        return [
            field.name
            for field in columns
            if field.name in before.names
            and not grows(table_type(before.field(field.name).type, times=True), field.type, _promoted)
        ]

    def _begin(self, columns: pa.Schema, replaced: list[str]) -> Transaction:
        """A transaction on the table, or on a new one, whose schema has these columns."""
        if self._table is None:
            self._make_home()
        try:
            if self._table is not None:
                transaction = self._table.transaction()
                with transaction.update_schema() as update:
                    for name in replaced:
                        update.delete_column((name,))
                with transaction.update_schema() as update:
                    update.union_by_name(columns)
                return transaction
            transaction = self._catalog.create_table_transaction(self._name, columns, properties={SOURCE: self._output})
            with transaction.update_spec() as spec:
                spec.add_identity("model")
            return transaction
        except (TypeError, ValueError, UnsupportedPyArrowTypeException, ValidationError) as error:
            raise UsageError(
                f"{self._name} cannot hold a column of the labels ({' '.join(str(error).split())}): give the column "
                "another type in the manifest, or leave it out, and label into another OUTPUT"
            ) from error

    def _make_home(self) -> None:
        """Create the namespace of a new table."""
        namespace = self._name.rpartition(".")[0]
        try:
            if isinstance(self._catalog, MetastoreCatalog):  # Otherwise it fails after creating the namespace.
                self._catalog.identifier_to_database_and_table(self._name)
            self._catalog.create_namespace_if_not_exists(namespace)
            check_home(self._catalog, self._catalog_name, namespace)
        except (TypeError, ValueError, ValidationError) as error:
            raise UsageError(f"cannot make the table {self._name}: {' '.join(str(error).split())}") from error


def _promoted(before: pa.DataType, after: pa.DataType) -> bool:
    """Whether Iceberg reads data files of one type as another; it has one type for integers of up to 32 bits."""
    if pa.types.is_decimal(before) and pa.types.is_decimal(after):
        return before.scale == after.scale
    kinds = (pa.types.is_signed_integer, pa.types.is_floating)
    return any(kind(before) and kind(after) for kind in kinds)


def _read(transaction: Transaction, task: FileScanTask, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of one data file, in its order."""
    metadata = transaction.table_metadata
    projected = metadata.schema().select(*columns)
    return ArrowScan(metadata, transaction._table.io, projected, AlwaysTrue()).to_record_batches([task])


def _standing(transaction: Transaction, file: _Stale) -> Iterator[pa.RecordBatch]:
    """The rows of a stale file that stay."""
    if not len(file.stands):
        return
    at = 0
    for batch in _read(transaction, file.task, transaction.table_metadata.schema().column_names):
        stands = pa.array(file.stands[at : at + batch.num_rows])
        at += batch.num_rows
        if stands.true_count:
            yield batch.filter(stands)


def _parts(rows: Iterator[pa.RecordBatch], columns: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables as large as one data file should be."""
    waiting: list[pa.Table] = []
    held = 0
    for batch in rows:
        waiting.append(fitted_table(pa.Table.from_batches([batch]), columns))
        held += waiting[-1].nbytes
        if held >= _FILE_BYTES:
            yield pa.concat_tables(waiting)
            waiting, held = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _written(transaction: Transaction, parts: Iterator[pa.Table]) -> list[DataFile]:
    """Write data files, which no snapshot refers to yet."""
    counter, commit = itertools.count(), uuid.uuid4()
    metadata, io = transaction.table_metadata, transaction._table.io
    written: list[DataFile] = []
    for part in parts:
        written += _dataframe_to_data_files(metadata, part, io, write_uuid=commit, counter=counter)
    return written


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
