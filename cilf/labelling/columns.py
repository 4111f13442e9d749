"""One set of columns per OUTPUT: all label files have the same user columns, with the same types.

Most readers assume that all files have the columns of the first file that they open. So a run that adds a column, or
needs a wider type, first rewrites the label files of earlier runs, one by one and each under its own name. Their rows
and all other columns stay as they are, so an interrupted rewrite needs no journal: the next run continues it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial, reduce
from textwrap import shorten

import pyarrow as pa
import pyarrow.parquet as pq

from cilf import schema
from cilf.column_types import fitted_table, known, known_of_both, twins, united, with_values
from cilf.errors import UsageError
from cilf.labelling.label_files import reading
from cilf.labelling.lease import Lease, check_lease
from cilf.labelling.pipeline import Work
from cilf.storage import Location, files, folders, write

_READERS = 32
_WRITERS = 4  # each holds a file of up to 128 MB, which takes considerably more memory before it is compressed
_BATCH = 16_384  # rows that are rewritten at once
_FOOTER = 65_536  # bytes that one request fetches from a file's end; they usually hold the whole schema
_OURS = frozenset({*schema.MANIFEST.names, *schema.LABELS.names})

_ADVICE = "give the column in INPUT the name and type that it has in earlier labels, or choose another OUTPUT"

Found = dict[Location, pa.Schema]
"""Files, and the user columns of each."""


def agree(output: Location, work: Work, thumbnails: bool, say: Callable[[str], None]) -> None:
    """Give all label files in OUTPUT and the manifest of a run the same columns. The run holds its lease.

    Args:
        thumbnails: whether the run itself adds a column of thumbnails.
        say: called with a line when the run waits for another run's lease, and when it rewrites files.

    Raises:
        UsageError: no type holds all values of a column; nothing was changed.
        BusyError: files of another model have to be rewritten, and another run is writing them.
    """
    manifest = _own_columns(files(work.manifest, ".parquet"))
    made = [schema.THUMBNAILS] if thumbnails and manifest else []
    with ExitStack() as held:
        labels = _own_columns(_label_files(output))
        if _differing(labels, _columns_of(labels, manifest, made)):
            for lease in {_lease_of(file) for file in labels} - {work.lease}:
                held.enter_context(Lease(lease, work.run, say))
            labels = _own_columns(_label_files(output))  # Other runs may have written or merged some since.
        columns = _columns_of(labels, manifest, made)
        carried = [field for field in columns if field not in made]
        old = _differing(labels, columns)
        # The order of columns counts, too: only files with the same order can be merged.
        new = [file for file, own in manifest.items() if own != pa.schema(carried)]
        _each(partial(_check, columns=columns), [*old, *new])
        _each(partial(_rewrite, columns=carried, run=None), new)
        if old:
            say(f"your own columns have changed: rewriting {len(old):,} label files")
        _each(partial(_rewrite, columns=columns, run=work.run), old)


def _columns_of(labels: Found, manifest: Found, made: list[pa.Field]) -> list[pa.Field]:
    try:
        found = common({**labels, **manifest}, made)
    except TypeError as error:
        raise UsageError(f"INPUT does not fit the labels that are in OUTPUT: {error}; {_ADVICE}") from error
    return [field.with_type(with_values(field.type)) for field in found]


def common(found: Found, made: Iterable[pa.Field] = ()) -> list[pa.Field]:
    """The columns of all files and `made`, each with a type that holds the values of all files. If types conflict, the
    files are read: a column that is null in every row fits any type.

    Raises:
        TypeError: no type holds all values of a column.
    """
    fields = {field.name: field for columns in found.values() for field in columns} | {f.name: f for f in made}
    if twice := twins(fields):
        raise TypeError(f"the columns {' and '.join(twice)} differ only in case, and most readers treat them as one")
    names = sorted(fields, key=lambda name: name == schema.THUMBNAILS.name)
    types = {name: _type(name, found) for name in names}
    return [fields[name] if kind is None else pa.field(name, kind) for name, kind in types.items()]


def _type(name: str, found: Found) -> pa.DataType | None:
    """The type of one column; None if no file has it."""
    having = {file: columns.field(name).type for file, columns in found.items() if name in columns.names}
    if not having:
        return None
    try:
        return reduce(united, dict.fromkeys(having.values()))
    except TypeError:
        pass
    try:
        return reduce(united, (_known(file, name) for file in having))
    except TypeError as error:
        types = ", then ".join(shorten(str(kind), 200) for kind in dict.fromkeys(having.values()))
        raise TypeError(f"the column {name} is {types} ({error})") from error


def _known(file: Location, name: str) -> pa.DataType:
    """The type of a column in a file, with null wherever the file has no value."""
    return reduce(known_of_both, (known(batch[name]) for batch in _batches(file, [name])), pa.null())


def _batches(file: Location, names: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    with reading(file), file.fs.open(file.path, "rb") as opened:
        yield from pq.ParquetFile(opened).iter_batches(_BATCH, columns=names)


def _differing(found: Found, columns: Iterable[pa.Field]) -> list[Location]:
    wanted = {field.name: field.type for field in columns}
    return [file for file, own in found.items() if dict(zip(own.names, own.types, strict=True)) != wanted]


def _check(file: Location, columns: list[pa.Field]) -> None:
    """Make sure that all values of a file fit the columns."""
    own = _own(_columns(file))
    changed = [field for field in columns if field.name in own.names and own.field(field.name).type != field.type]
    if not changed:
        return
    try:
        for batch in _batches(file, [field.name for field in changed]):
            fitted_table(pa.Table.from_batches([batch]), changed)
    except pa.ArrowException as error:
        raise UsageError(f"INPUT does not fit the labels that are in OUTPUT: {error}; {_ADVICE}") from error


def _rewrite(file: Location, columns: list[pa.Field], run: str | None) -> None:
    """Rewrite a file with these user columns; a label file only if `run` holds the lease of its model."""
    before, buffer = _columns(file), io.BytesIO()
    wanted = pa.schema([*(field for field in before if field.name in _OURS), *columns], before.metadata)
    with pq.ParquetWriter(buffer, wanted, compression="zstd") as writer:
        for batch in _batches(file):
            writer.write_table(fitted_table(pa.Table.from_batches([batch]), wanted))
    if run is not None:
        check_lease(_lease_of(file), run)
    write(file, buffer.getvalue())


def _label_files(output: Location) -> list[Location]:
    return [file for model in folders(output / "labels") for file in files(model, ".parquet")]


def _lease_of(file: Location) -> Location:
    """The lease of the model whose labels are in a file."""
    labels = file.parent
    return labels.parent.parent / "leases" / f"{labels.path.rpartition('model=')[2]}.json"


def _own_columns(found: list[Location]) -> Found:
    with ThreadPoolExecutor(_READERS) as threads:
        columns = zip(found, threads.map(_columns_if_there, found), strict=True)
        return {file: _own(of_file) for file, of_file in columns if of_file is not None}


def _columns_if_there(file: Location) -> pa.Schema | None:
    """The columns of a file; None if a compaction of another model has merged it since it was listed."""
    try:
        return _columns(file)
    except FileNotFoundError:
        return None


def _columns(file: Location) -> pa.Schema:
    try:
        return pq.read_schema(pa.BufferReader(file.fs.cat_file(file.path, start=-_FOOTER)))
    except pa.ArrowInvalid:  # a larger footer
        with reading(file), file.fs.open(file.path, "rb") as opened:
            return pq.read_schema(opened)


def _own(columns: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in columns if field.name not in _OURS])


def _each(do: Callable[[Location], None], found: list[Location]) -> None:
    with ThreadPoolExecutor(_WRITERS) as threads:
        list(threads.map(do, found))
