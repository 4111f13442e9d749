"""A Delta table that mirrors the labels of one OUTPUT.

Delta's writer can replace the rows that match a predicate in one commit. So all rows of every run that has changed are
written again, and the rows of other runs stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from cilf.column_types import united
from cilf.errors import JobError, UsageError
from cilf.provenance import new_run_id
from cilf.publishing.delta_places import check_free, settings, table_place, uri
from cilf.publishing.labels import KEYS, Labels
from cilf.publishing.s3 import check_reachable, check_writable
from cilf.publishing.table_types import grows, table_type

RUNS = "cilf.runs"
"""Key in the commit's metadata for the ids of the runs whose rows it adds, separated by commas."""
PUBLICATION = "cilf.publication"
"""Key in the commit's metadata for the id of the publication."""

_DESCRIPTION = "The labels in "


class DeltaMirror:
    """A Delta table in a folder or at a URL that mirrors the labels of OUTPUT.

    Raises:
        UsageError: the table cannot be used, or mirrors something else.
    """

    def __init__(self, place: str, output: str) -> None:
        at = table_place(place, output)
        self._place, self._uri, self._settings = at.url, uri(at), settings(at)
        self._description = f"{_DESCRIPTION}{output}"
        if at.scheme != "file":
            check_reachable(at, "open the Delta table")
        self._table = self._found()
        if self._table is None:
            check_free(at)
        if at.scheme != "file":  # Without permission, the library's writer panics on the terminal.
            check_writable(at, "write to the Delta table")
        self._stale: list[str] = []

    def _open(self) -> DeltaTable:
        return DeltaTable(self._uri, storage_options=self._settings)

    def _found(self) -> DeltaTable | None:
        try:
            table = self._open()
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise UsageError(f"cannot open the Delta table {self._place}: {_line(error)}") from error
        described = table.metadata().description or ""
        if described != self._description:
            is_of = described.removeprefix(_DESCRIPTION) if described.startswith(_DESCRIPTION) else "no OUTPUT"
            raise UsageError(
                f"the Delta table {self._place} mirrors {is_of}, and publishing would replace its rows: choose another "
                f"table, or first set its description to '{self._description}' (DeltaTable.alter.set_table_description)"
            )
        return table

    def compare(self, labels: Labels) -> int:
        """Claim every row of the labels that the table has; return the number of table rows that have to be removed."""
        self._table = self._found()  # The previous holder of the lease may have published the labels.
        if self._table is None:
            return 0
        runs: set[str] = set()
        stale = 0
        for batch in pa.RecordBatchReader.from_stream(self._table.scan(columns=KEYS)):
            keys = batch.cast(pa.schema([("id", pa.int64()), ("run", pa.string())]))
            gone = keys.filter(pa.array(~labels.claim(keys)))
            runs.update(gone["run"].to_pylist())
            stale += gone.num_rows
        self._stale = sorted(runs)
        return stale

    def commit(self, labels: Labels, may_commit: Callable[[], None]) -> str:
        """Add the rows of the labels that the table lacks, and remove those that `compare` has found.

        Args:
            may_commit: raises an exception if nothing may be committed any more.

        Returns:
            A name for the new state of the table.

        Raises:
            UsageError: the table cannot hold a column.
            JobError: the table or the labels changed meanwhile, or the store failed.
        """
        new = labels.unclaimed_runs
        columns = labels.columns(times=False)
        mode = self._mode(labels, columns)
        if self._table is not None and mode["schema_mode"] == "merge":
            columns = _merged(self._table, columns)
        failed: list[JobError | UsageError] = []

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                yield from labels.claim_rest(columns)
                may_commit()  # The writer commits after the last row.
            except (JobError, UsageError) as error:
                failed.append(error)  # The writer would only return it as text inside its own error.
                raise

        publication = new_run_id()
        told = {RUNS: ",".join(new), PUBLICATION: publication}
        try:
            write_deltalake(
                self._table or self._uri,
                pa.RecordBatchReader.from_batches(columns, rows()),
                partition_by=["model"],
                description=self._description,
                commit_properties=CommitProperties(custom_metadata=told, max_commit_retries=0),
                storage_options=self._settings,
                **mode,
            )
        except Exception as error:
            if failed:
                raise failed[0] from None
            if not self._is_committed(publication, error):
                raise JobError(f"nothing was committed to {self._place}: {_line(error)}") from error
        return f"version {self._open().version()}"

    def _mode(self, labels: Labels, columns: pa.Schema) -> dict[str, Any]:
        """The writer's options for the rows that the table lacks; claims on rows to be written again are released."""
        if self._table is not None and not _grows(self._table, columns):
            labels.release(labels.runs)
            return {"mode": "overwrite", "schema_mode": "overwrite"}
        if not self._stale:
            return {"mode": "append", "schema_mode": "merge"}
        changed = sorted({*labels.unclaimed_runs, *self._stale})
        labels.release(changed)
        named = ", ".join("'{}'".format(run.replace("'", "''")) for run in changed)
        return {"mode": "overwrite", "schema_mode": "merge", "predicate": f"run IN ({named})"}

    def _is_committed(self, publication: str, error: Exception) -> bool:
        """Whether a publication that ended with an error was committed nevertheless.

        Raises:
            JobError: this cannot be determined.
        """
        try:
            return any(commit.get(PUBLICATION) == publication for commit in self._open().history())
        except TableNotFoundError:
            return False
        except Exception as unreadable:
            raise JobError(
                f"publishing to {self._place} failed ({_line(error)}), and whether its rows are in the table cannot be "
                f"read ({_line(unreadable)}): repeat the command to find out and to publish what is missing"
            ) from error


def _types(table: DeltaTable) -> dict[str, pa.DataType]:
    found = pa.schema(table.schema().to_arrow())
    return {field.name: table_type(field.type, times=False) or field.type for field in found}


def _grows(table: DeltaTable, columns: pa.Schema) -> bool:
    """Whether the values of these columns fit the table's current types: its writer casts them to those, 0.5 to 0."""
    before = _types(table)
    return all(grows(before[f.name], f.type, lambda *_: False) for f in columns if f.name in before)


def _merged(table: DeltaTable, columns: pa.Schema) -> pa.Schema:
    """The columns with the types that the table will have."""
    before = _types(table)
    return pa.schema([f.with_type(united(before[f.name], f.type)) if f.name in before else f for f in columns])


def _line(error: Exception) -> str:
    """A message about an error from Rust: the store's own message, or those of the first and the last cause."""
    text = re.sub(r"\x1b\[\d+m|↳", "", str(error))
    if answer := re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL):
        return f"{answer[1]}: {answer[2]}"
    causes = [line.strip() for line in text.splitlines() if line.strip() and "<unknown>" not in line]
    return f"{type(error).__name__}: {': '.join(dict.fromkeys([*causes[:1], *causes[-1:]]))}"
