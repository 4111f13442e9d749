"""A Delta table that mirrors the labels of one OUTPUT.

Delta's writer can replace the rows that a predicate names in one commit, so all rows of every run that has changed are
written again, and the rows of other runs stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from cilf.errors import JobError, UsageError
from cilf.publishing.labels import KEYS, Labels
from cilf.storage import locate

RUNS = "cilf.runs"
"""In the commit's information: ids of the runs whose rows it brings, separated by commas."""

_DESCRIPTION = "The labels in "


class DeltaMirror:
    """The table in a folder or at a URL.

    Raises:
        UsageError: it cannot be used, or mirrors something else.
    """

    def __init__(self, place: str, output: str) -> None:
        self._place, self._description = locate(place).url, f"{_DESCRIPTION}{output}"
        self._table = self._found()
        self._stale: list[str] = []

    def _found(self) -> DeltaTable | None:
        try:
            if not DeltaTable.is_deltatable(self._place):
                return None
            table = DeltaTable(self._place)
        except (DeltaError, OSError) as error:
            raise UsageError(f"cannot open the Delta table {self._place}: {error}") from error
        described = table.metadata().description or ""
        if described != self._description:
            is_of = described.removeprefix(_DESCRIPTION) if described.startswith(_DESCRIPTION) else "no OUTPUT"
            raise UsageError(
                f"the Delta table {self._place} mirrors {is_of}, and publishing would replace its rows: name another, "
                f"or describe it as '{self._description}' first (DeltaTable.alter.set_table_description)"
            )
        return table

    def compare(self, labels: Labels) -> int:
        """Let the table's rows claim theirs in the labels; how many found none and have to go."""
        self._table = self._found()  # Whoever held the labels before may have published them.
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
        """Bring what the labels have and the table has not, and take out what `compare` has found.

        Args:
            may_commit: raises where nothing may be committed any more.

        Returns:
            A name of the table as it is now.

        Raises:
            JobError: the table cannot hold a column, or it or the labels changed meanwhile; nothing was committed.
        """
        new = labels.unclaimed_runs
        changed = sorted({*new, *self._stale})
        if self._stale:
            labels.release(changed)
        columns = labels.schema
        failed: list[JobError] = []

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                yield from labels.claim_rest(columns)
                may_commit()  # The writer commits after the last row.
            except JobError as error:
                failed.append(error)  # It would come back as a text inside the writer's own.
                raise

        replaced: dict[str, Any] = {"mode": "append"}
        if self._stale:
            named = ", ".join(f"'{run}'" for run in changed)
            replaced = {"mode": "overwrite", "predicate": f"run IN ({named})"}
        try:
            write_deltalake(
                self._table or self._place,
                pa.RecordBatchReader.from_batches(columns, rows()),
                partition_by=["model"],
                description=self._description,
                schema_mode="merge",
                commit_properties=CommitProperties(custom_metadata={RUNS: ",".join(new)}, max_commit_retries=0),
                **replaced,
            )
        except Exception as error:
            if failed:
                raise failed[0] from None
            text = str(error).partition("\n")[0]
            raise JobError(f"nothing was committed to {self._place}: {type(error).__name__}: {text}") from error
        return f"version {DeltaTable(self._place).version()}"
