"""Reading of the files that reviewers return, as text: CSV as any spreadsheet saves it, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.errors import UsageError
from cilf.report.review_files import FOLDER
from cilf.storage import Location, files, problem, read

_NEEDED = ("id", "true_age")
_BOX = ("left", "top", "right", "bottom")
COLUMNS = (*_NEEDED, "face", "model", "uri", *_BOX)
"""The columns that are read from a file; all except the first two may be missing."""

_SUFFIXES = (".csv", ".parquet")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_EMPTY = ("", "-", "nan", "null", "none", "na", "n/a", "<na>")
"""Empty values as spreadsheets and data frames write them, in lower case."""
_DELIMITERS = ",;\t|"
_THREADS = 16
_NO_FACES = pa.schema([(name, pa.string()) for name in ("id", "face", "uri")]).empty_table()

AS_ID = "CASE WHEN regexp_full_match(id, '-?[0-9]+') THEN TRY_CAST(id AS BIGINT) END"
"""SQL: the column `id` of a file as int64, null if it is not one."""
ABOUT = "TRY_CAST(replace(id, ',', '.') AS DOUBLE)"
"""SQL: the column `id` as a double, which a spreadsheet may have rounded."""
ROUNDED = 0.005
"""Largest relative error of an id that a spreadsheet has written as 1.23E+18."""


@dataclass(frozen=True)
class Answers:
    """The answers in one file."""

    file: Location
    changed: datetime
    """Time of the last change of the file."""
    columns: tuple[str, ...]
    """The COLUMNS that the file has."""
    rows: pa.Table
    """All rows that have a `true_age`: COLUMNS as strings, null for empty values, and `row` (int64), the number of the
    row in the file, counted from 1."""


def read_answers(places: Sequence[Location]) -> tuple[list[Answers], list[str]]:
    """Read all files with answers.

    Args:
        places: files, or folders. Of a folder, all CSV and Parquet files in it and in its folder `review` are read that
            have the columns `id` and `true_age`. OUTPUT is such a folder.

    Returns:
        The answers of each file, in the order in which the files were last changed; and the names of spreadsheets that
        were found in the folders but cannot be read.

    Raises:
        UsageError: a file does not exist or cannot be read as one with these columns, or a folder has no such file.
    """
    found: list[Answers] = []
    unread: list[str] = []
    for place in places:
        if place.fs.isdir(place.path):
            inside, sheets = _in_folder(place)
            found += inside
            unread += sheets
        else:
            found.append(_read(place))
    return sorted(found, key=lambda answers: answers.changed), unread


def answered(output: Location) -> pa.Table:
    """The rows with ages in the review files of an OUTPUT, as they are written: `id`, `face` and `uri`, strings, null
    for empty values. A file that cannot be read is skipped, so that one that somebody is working on does not stop the
    report."""
    there = [file for file in files(output, "") if file.path.rpartition("/")[2] in ("review.csv", "review.parquet")]
    found = [file for file in files(output / FOLDER, "") if file.path.lower().endswith(_SUFFIXES)]
    with ThreadPoolExecutor(_THREADS) as threads:
        return pa.concat_tables([_NO_FACES, *threads.map(_faces, [*there, *found])])


def _faces(file: Location) -> pa.Table:
    with suppress(UsageError, OSError):
        return _read(file).rows.select(_NO_FACES.column_names)
    return _NO_FACES


def _in_folder(folder: Location) -> tuple[list[Answers], list[str]]:
    inside = [file for place in (folder, folder / FOLDER) for file in files(place, "")]
    there = [file for file in inside if not file.path.rpartition("/")[2].startswith("~$")]  # Excel's locks
    sheets = [file.url for file in there if file.path.lower().endswith(_SPREADSHEETS)]
    readable = (_columns(file) for file in there if file.path.lower().endswith(_SUFFIXES))
    found = [_answers(*of_file) for of_file in readable if not _missing(of_file[1])]
    if not found:
        also = f"; save {', '.join(sheets)} as CSV" if sheets else ""
        raise UsageError(
            f"--corrections {folder.url}: the folder holds no .csv or .parquet file with the columns id and true_age"
            f"{also}"
        )
    return found, sheets


def _read(file: Location) -> Answers:
    if not file.path.lower().endswith(_SUFFIXES):
        advice = "; save it as CSV" if file.path.lower().endswith(_SPREADSHEETS) else ""
        raise UsageError(f"--corrections {file.url}: expected a .csv or .parquet file, or a folder of them{advice}")
    _, columns = found = _columns(file)
    if missing := _missing(columns):
        raise UsageError(
            f"--corrections {file.url} has no column {', '.join(missing)} (its columns: {', '.join(columns)}); "
            "expected those of review.csv with true_age filled in"
        )
    return _answers(*found)


def _missing(columns: Iterable[str]) -> list[str]:
    return [name for name in _NEEDED if name not in columns]


def _columns(file: Location) -> tuple[Location, dict[str, list[str | None]]]:
    """The columns of a file by name."""
    try:
        if file.path.lower().endswith(".parquet"):
            return file, _of_parquet(file)
        data = read(file)
        if data is None:
            raise FileNotFoundError(file.path)
        return file, _of_csv(data)
    except FileNotFoundError as error:
        raise UsageError(f"--corrections {file.url}: there is no such file") from error
    except (pa.ArrowException, csv.Error, ValueError, LookupError, OverflowError, OSError) as error:
        raise UsageError(f"--corrections {file.url} cannot be read: {problem(error, file.url)}") from error


def _of_parquet(place: Location) -> dict[str, list[str | None]]:
    with place.fs.open(place.path, "rb") as opened:
        file = pq.ParquetFile(opened)
        names = {_plain(name): name for name in file.schema_arrow.names}
        wanted = {name: names[name] for name in COLUMNS if name in names}
        table = None if _missing(names) else file.read(list(wanted.values()))
    if table is None:  # A folder may hold other Parquet files, whose columns are not needed.
        return {name: [] for name in names}
    found = {name: table[own].to_pylist() for name, own in wanted.items()}
    return {name: [None if value is None else str(value) for value in values] for name, values in found.items()}


def _of_csv(data: bytes) -> dict[str, list[str | None]]:
    """The columns of a CSV file: with commas, semicolons, tabs or bars; UTF-8 with or without a byte order mark, UTF-16
    or Windows-1252."""
    text = _decoded(data)
    if text[:4].lower() == "sep=":  # Excel's own first line
        text = text.partition("\n")[2]
    header = text.lstrip("\r\n").partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count))
    lines = [row for row in rows if row]
    names = [_plain(name) for name in lines[0]] if lines else []
    return {name: [row[place] if place < len(row) else None for row in lines[1:]] for place, name in enumerate(names)}


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _plain(name: str) -> str:
    return name.strip().lower()


def _answers(file: Location, columns: dict[str, list[str | None]]) -> Answers:
    names = tuple(name for name in COLUMNS if name in columns)
    length = len(columns["id"])
    texts = {name: [_text(value) for value in columns.get(name, [None] * length)] for name in COLUMNS}
    types = pa.schema([*((name, pa.string()) for name in COLUMNS), ("row", pa.int64())])
    table = pa.table({**texts, "row": range(1, length + 1)}, types)
    filled = table.filter(table["true_age"].is_valid())
    return Answers(file, file.fs.modified(file.path), names, filled)


def _text(value: str | None) -> str | None:
    text = (value or "").strip()
    return None if text.lower() in _EMPTY else text
