"""Merging of many small label files into few large ones, under the same lease as labelling.

The large file is written before the small ones are removed, so a reader at that moment may see rows twice but never
misses one. A journal, written before both, records the plan: after an interruption at any point, the next run or
compaction finishes it first.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.config import CompactOptions
from cilf.errors import UsageError
from cilf.labelling.label_files import reading
from cilf.labelling.lease import Lease, check_lease
from cilf.labelling.progress import Progress
from cilf.manifest.failures import told
from cilf.provenance import new_run_id
from cilf.storage import CHECKING, Location, check_output, files, files_and_sizes, folders, locate, read, remove, write

_JOURNAL = "_compaction.json"
_TARGET_BYTES = 128_000_000


def run(options: CompactOptions) -> int:
    """See cilf.labelling.compact."""
    output, checked = locate(options.output), locate(options.output, CHECKING)
    with told("cannot read OUTPUT", checked):
        found = folders(output / "labels")
    if not found:
        raise UsageError(f"there are no labels under {output.url}")
    check_output(checked)
    for labels in found:
        print(compact_model(output, labels))
    return 0


def compact_model(output: Location, labels: Location) -> str:
    """Merge the small files of one model, and return a line that says how many files there are now.

    Raises:
        BusyError: a run is writing them.
    """
    name = labels.path.rpartition("/")[2]
    lease = output / "leases" / f"{name.removeprefix('model=')}.json"
    with Lease(lease, new_run_id(), Progress().say) as held:
        recover(labels)
        before = len(files(labels, ".parquet"))
        for group in _groups(labels):
            _merge(labels, group, lambda: check_lease(held.place, held.run))
        return f"{name}: {before:,} files before, {len(files(labels, '.parquet')):,} now"


def small_files(labels: Location) -> list[tuple[Location, int]]:
    """The label files that are worth merging, and their sizes in bytes."""
    return [(file, size) for file, size in files_and_sizes(labels, ".parquet") if size < _TARGET_BYTES // 2]


def recover(labels: Location) -> None:
    """Finish or undo an interrupted compaction. The caller holds the lease."""
    journal = labels / _JOURNAL
    written = read(journal)
    if written is None:
        return
    plan = json.loads(written)
    there = {file.path.rpartition("/")[2] for file in files(labels, ".parquet")}
    if plan["into"] in there:
        for name in there.intersection(plan["files"]):
            remove(labels / name)
    remove(journal)


def _groups(labels: Location) -> Iterator[list[Location]]:
    """Groups of small files with the same columns, each group about as large as one file should be."""
    waiting: dict[bytes, tuple[list[Location], int]] = {}
    for file, size in small_files(labels):
        with reading(file), file.fs.open(file.path, "rb") as opened:
            columns = pq.read_schema(opened).serialize().to_pybytes()
        group, held = waiting.get(columns, ([], 0))
        group.append(file)
        waiting[columns] = (group, held + size)
        if held + size >= _TARGET_BYTES:
            yield group
            del waiting[columns]
    yield from (group for group, _ in waiting.values() if len(group) > 1)


def _merge(labels: Location, group: list[Location], may_write: Callable[[], None]) -> None:
    """Merge a group into one file.

    Reading and writing take a while, in which another run may take over the lease and undo an unfinished merge, so
    `may_write` is called before every step that changes something.
    """
    names = [file.path.rpartition("/")[2] for file in group]
    into = f"compact-{hashlib.sha256('/'.join(names).encode()).hexdigest()[:16]}.parquet"
    may_write()
    write(labels / _JOURNAL, json.dumps({"into": into, "files": names}).encode())
    tables = []
    for file in group:
        with reading(file), file.fs.open(file.path, "rb") as opened:
            tables.append(pq.ParquetFile(opened).read())
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), buffer, compression="zstd")
    may_write()
    write(labels / into, buffer.getvalue())
    may_write()
    recover(labels)
