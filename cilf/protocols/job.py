"""The command `cilf data split`: writes a protocol's folds as files for recipes and evaluations, and shows leakage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cilf.config import DataSplitOptions
from cilf.datasets.labels import TABLE
from cilf.errors import UsageError
from cilf.images.fetch import FetchError, fetch
from cilf.own_files import columns_of, is_record
from cilf.protocols.folds import Fold, Split, subjects_of
from cilf.protocols.known import make_split
from cilf.protocols.leakage import Leakage, leakage, told
from cilf.protocols.lists import Lists
from cilf.storage import CHECKING, Location, check_output, lies_inside, locate, problem, write

_OF_FOLDS = {*TABLE.names, "published_split", "id"}
"""Columns that every fold file has."""
_SHOWN = 10
_MAX_BYTES = 100_000_000
_BATCH = 256
"""Images in memory at once."""


def split(options: DataSplitOptions) -> int:
    """Make the folds, write a file for each fold, and show the leakage.

    Raises:
        UsageError: the table or the lists do not fit this protocol, or the output cannot be written.
    """
    table = _read(locate(options.table, CHECKING), options.images)
    output = locate(options.output, CHECKING)
    check_output(output)
    lists = None if options.lists is None else Lists(_existing(options.lists))
    made = make_split(options.protocol, table, options.seed, lists)
    subjects_N = subjects_of(table)
    leaks = [leakage(fold, subjects_N) for fold in made.folds]
    _check_folds(made.folds, locate(options.table, CHECKING), output)
    try:
        for fold in made.folds:
            write(output / f"{fold.name}.parquet", _file(table, fold, options.images))
        record = {
            "protocol": options.protocol,
            "seed": options.seed,
            "notes": made.notes,
            "folds": list(map(asdict, leaks)),
        }
        write(output / "split.json", json.dumps(record, indent=2, ensure_ascii=False).encode())
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot write the folds: {problem(error, output.url)}") from error
    _show(options.protocol, made, leaks)
    print(f"{len(made.folds)} files and split.json are in {output.url}")
    return 0


def _read(source: Location, images: bool) -> pa.Table:
    """Reads a table that `cilf data check` has written."""
    try:
        with source.fs.open(source.path, "rb") as opened:
            table = pq.read_table(opened)
    except Exception as error:
        raise UsageError(f"cannot read the table: {problem(error, source.url)}") from error
    wanted = [*TABLE.names, *(["uri"] if images else [])]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise UsageError(
            f"{source.url} has no column {', '.join(missing)} (its columns: {', '.join(table.column_names)}); "
            "expected a table that `cilf data check --output` has written"
        )
    return table


def _check_folds(folds: Sequence[Fold], source: Location, output: Location) -> None:
    """Make sure that the folds overwrite nothing but folds.

    Raises:
        UsageError: they would overwrite TABLE, or files that this command has not written.
    """
    files = [output / f"{fold.name}.parquet" for fold in folds]
    for file in files:
        if lies_inside(source, file):
            raise UsageError(f"the fold {file.url} would overwrite TABLE: choose another OUTPUT")
    others = [file.url for file in files if file.fs.exists(file.path) and not _OF_FOLDS.issubset(columns_of(file))]
    record = output / "split.json"
    if record.fs.exists(record.path) and not is_record(record, "protocol", "seed", "folds"):
        others.append(record.url)
    if others:
        raise UsageError(
            f"{', '.join(others[:3])}: not written by cilf data split, which would replace it: choose another OUTPUT"
        )


def _existing(place: str) -> Path:
    path = Path(place).expanduser()
    if not path.exists():
        raise UsageError(f"--lists {place} does not exist")
    return path


def _file(table: pa.Table, fold: Fold, images: bool) -> bytes:
    """The rows of a fold as Parquet, with `id` and the fold's `split`; the authors' split becomes `published_split`."""
    parts = {"train": fold.train, "val": fold.val, "test": fold.test}
    rows = np.concatenate(list(parts.values()))
    names = np.repeat(list(parts), [len(part) for part in parts.values()])
    order = np.argsort(rows, kind="stable")
    kept = table.take(rows[order])
    kept = kept.rename_columns(["published_split" if name == "split" else name for name in kept.column_names])
    kept = kept.append_column("id", kept["path"]).append_column("split", pa.array(names[order].tolist(), pa.string()))
    buffer = io.BytesIO()
    if not images:
        pq.write_table(kept, buffer)
        return buffer.getvalue()
    schema = kept.schema.append(pa.field("image", pa.large_binary()))
    with pq.ParquetWriter(buffer, schema, compression={"image": "none"}) as writer:
        for batch in _with_images(kept):
            writer.write_table(batch.cast(schema))
    return buffer.getvalue()


def _with_images(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, len(table), _BATCH):
        part = table.slice(start, _BATCH)
        uris = part["uri"].to_pylist()
        answers = fetch(uris, [None] * len(uris), _MAX_BYTES)
        for uri, answer in zip(uris, answers, strict=True):
            if isinstance(answer, FetchError):
                raise UsageError(f"cannot read {uri}: {answer.reason}")
        yield part.append_column("image", pa.array(answers, pa.large_binary()))


def _show(protocol: str, made: Split, leaks: Sequence[Leakage]) -> None:
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("fold")
    for heading in ("train", "val", "test", "people\ntested", "test rows with\na training person"):
        table.add_column(heading, justify="right")
    for one in leaks[:_SHOWN]:
        share = "unknown" if one.share is None else f"{one.shared:,} ({one.share:.1%})"
        people = f"{one.people:,}" if one.people else "unknown"
        table.add_row(Text(one.fold), f"{one.train:,}", f"{one.val:,}", f"{one.test:,}", people, share)
    console.print(Text(f"{protocol}: {len(made.folds)} folds"))
    console.print(table)
    if len(leaks) > _SHOWN:
        console.print(Text(f"and {len(leaks) - _SHOWN} more folds, all in split.json"))
    console.print(Text(told(leaks)))
    for note in made.notes:
        console.print(Text(f"Note: {note}."))
