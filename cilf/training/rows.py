"""Labelled photographs, wherever they lie -> one Ray dataset of rows that can be learned from, and a list of the rest.

    Parquet       a column `image` (encoded bytes), or `uri`
    CSV, JSONL    a column `uri` or `path`, relative to the file
    WebDataset    tars of `<key>.jpg` (or another kind of image) beside `<key>.json` with the labels

The labels are `age` (years), `split`, and where known `subject` and `id`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.errors import JobError, UsageError
from cilf.images.decode import DecodeError, decode
from cilf.images.fetch import FetchError, fetch
from cilf.storage import Location, locate, problem, split

if TYPE_CHECKING:
    from ray.data import Dataset

ROW = pa.schema(
    [("id", pa.string()), ("subject", pa.string()), ("age", pa.float32()), ("image", pa.large_binary())],
)
_BAD = pa.schema([("id", pa.string()), ("reason", pa.string())])

MAX_BAD_SHARE = 0.05
"""More bad rows than this are no accident: the wrong column, a broken copy, a store that fails."""

OLDEST = 125
"""Years: nobody has grown older."""

TASK_CPUS = 0.5
"""Of a task that reads or decodes: it waits for the store, or shares a core with a training worker."""

_MAX_BYTES = 100_000_000
_MAX_PIXELS = 200_000_000
_KINDS = ("parquet", "tar", "csv", "jsonl")
_LABELS = ("id", "subject", "age", "split")
_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")


@dataclass(frozen=True)
class Rows:
    """What can be learned from, in Ray's object store, and what cannot."""

    good: Dataset
    """ROW; materialised."""
    bad: list[dict[str, str]]
    """id and reason of each row left out."""
    index: pa.Table
    """`id`, `subject` and `age` of the good rows, in their order."""

    def __len__(self) -> int:
        return len(self.index)

    def of(self, keys: pa.Array) -> Dataset:
        """The good rows of some subjects, by their `subject_keys`."""
        task: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": TASK_CPUS}
        return self.good.map_batches(partial(_having, keys=keys.unique()), **task)


def read_rows(url: str, wanted_split: str | None) -> Rows:
    """All rows of a split, each looked at once: its age is plausible and its image decodes to the end.

    Raises:
        UsageError: no such data, no column for image or age, or no rows of that split.
    """
    source = locate(url)
    try:
        if not source.fs.exists(source.path):
            raise UsageError(f"there are no labelled photographs at {url}")
        found = _open(source, wanted_split)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read labelled photographs: {problem(error, url)}") from error
    found.context.execution_options.preserve_order = True  # what is held out goes by the order
    task: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": 256, "num_cpus": TASK_CPUS}
    examined = found.map_batches(partial(examine, folder=source.parent.url), **task).materialize()
    bad = examined.map_batches(_bad, **task).take_all()
    good = examined.map_batches(_good, **task).materialize()
    names = pa.schema(list(ROW)[:3])
    index = pa.concat_tables(
        [names.empty_table(), *good.select_columns(names.names).iter_batches(batch_size=None, batch_format="pyarrow")]
    )
    if not len(index) and not bad:
        raise UsageError(f"{url} has no rows" + (f" with split = {wanted_split!r}" if wanted_split else ""))
    return Rows(good, bad, index)


def check_share(rows: Rows, url: str) -> None:
    """Stop where too many rows are bad.

    Raises:
        JobError: more than MAX_BAD_SHARE of them.
    """
    total = len(rows) + len(rows.bad)
    if len(rows.bad) > MAX_BAD_SHARE * total:
        first = rows.bad[0]
        raise JobError(
            f"{len(rows.bad)} of {total} rows of {url} cannot be learned from, more than {MAX_BAD_SHARE:.0%} "
            f"(the first: {first['id']}: {first['reason']}; all are in bad_rows.csv)"
        )


def subject_keys(index: pa.Table) -> pa.Array:
    """Who is on each row: its subject, or where that is unknown the row itself, taken for another person."""
    return pc.coalesce(index["subject"], index["id"]).combine_chunks()


def subject_numbers(rows: pa.Table, subjects: pa.Array) -> np.ndarray:
    """The place of each row's key among `subjects`, int64 [N]."""
    return pc.index_in(subject_keys(rows), value_set=subjects).to_numpy().astype(np.int64)


def fitted_rows(index: pa.Table, held_out: float, seed: int) -> np.ndarray:
    """Which rows to fit on, bool [N]; the others' subjects are all their own, the same for the same seed."""
    keys = subject_keys(index)
    subjects = keys.unique()
    order = np.random.default_rng(seed).permutation(len(subjects))
    held = subjects.take(pa.array(np.sort(order[: round(len(subjects) * held_out)])))
    return ~pc.is_in(keys, value_set=held).to_numpy(zero_copy_only=False)


def _having(table: pa.Table, keys: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(subject_keys(table), value_set=keys))


def _open(source: Location, wanted_split: str | None) -> Dataset:
    import ray.data
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    files = [source.path] if source.fs.isfile(source.path) else sorted(source.fs.find(source.path))
    by_kind = {kind: [path for path in files if path.endswith(f".{kind}")] for kind in _KINDS}
    kind = next((kind for kind in _KINDS if by_kind[kind]), None)
    if kind is None:
        raise UsageError(f"{source.url} holds neither Parquet, CSV, JSON lines nor tar files")
    paths = by_kind[kind]
    where: dict[str, Any] = {"filesystem": PyFileSystem(FSSpecHandler(source.fs)), "num_cpus": TASK_CPUS}
    if kind == "tar":
        raw = ray.data.read_webdataset(paths, decoder=None, **where)
        return raw.map_batches(partial(_from_tar, wanted=wanted_split), batch_format="pyarrow", num_cpus=TASK_CPUS)
    if kind == "parquet":
        import pyarrow.parquet as pq

        with source.fs.open(paths[0], "rb") as file:
            names = pq.read_schema(file).names
        known = [name for name in (*_LABELS, "image", "uri", "path") if name in names]
        raw = ray.data.read_parquet(paths, columns=known, **where)
    else:
        raw = (ray.data.read_csv if kind == "csv" else ray.data.read_json)(paths, **where)
        names = raw.schema().names
    _check_columns(names, source.url, wanted_split)
    return raw.map_batches(partial(_of_split, wanted=wanted_split), batch_format="pyarrow", num_cpus=TASK_CPUS)


def _check_columns(names: list[str], url: str, wanted_split: str | None) -> None:
    missing = [name for name in ("age", *(["split"] if wanted_split else [])) if name not in names]
    if not {"image", "uri", "path"} & set(names):
        missing.append("image (or uri, or path)")
    if missing:
        raise UsageError(f"{url} has no column {', '.join(missing)} (its columns: {', '.join(names)})")


def _of_split(table: pa.Table, wanted: str | None) -> pa.Table:
    return table if wanted is None else table.filter(pc.equal(table["split"].cast(pa.string()), wanted))


def _from_tar(table: pa.Table, wanted: str | None) -> pa.Table:
    """WebDataset samples -> rows with the labels' columns and `image`."""
    rows: list[dict[str, Any]] = []
    for sample in table.to_pylist():
        parts = {name: part for name, part in sample.items() if isinstance(part, bytes)}  # others are holes
        try:
            labels = json.loads(parts.get("json", b"{}"))
        except ValueError:
            labels = {}
        if wanted is None or str(labels.get("split")) == wanted:
            image = next((parts[s] for s in _IMAGE_SUFFIXES if s in parts), None)
            rows.append({"id": sample["__key__"], **{n: labels[n] for n in _LABELS if n in labels}, "image": image})
    text = [pa.array([None if r.get(n) is None else str(r[n]) for r in rows], pa.string()) for n in ("id", "subject")]
    ages = pa.array([_number(r.get("age")) for r in rows], pa.float32())
    images = pa.array([r["image"] for r in rows], pa.large_binary())
    return pa.table([*text, ages, images], schema=ROW)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def examine(table: pa.Table, folder: str) -> pa.Table:
    """Look at every row of a batch: ROW and `reason`, which is null where the row can be learned from.

    Args:
        table: the labels' columns that there are, and `image`, `uri` or `path`.
        folder: what relative paths are taken from.
    """
    if "image" in table.column_names:
        answers: list[Any] = table["image"].to_pylist()
        names: list[str | None] = [None] * len(table)
    else:
        given = table["uri" if "uri" in table.column_names else "path"].to_pylist()
        names = [_absolute(name, folder) for name in given]
        answers = [FetchError("missing", "there is no URI")] * len(table)
        there = {row: name for row, name in enumerate(names) if name}
        fetched = fetch(list(there.values()), [None] * len(there), _MAX_BYTES)
        for row, answer in zip(there, fetched, strict=True):
            answers[row] = answer
    columns = table.column_names
    ages = [_number(age) for age in table["age"].to_pylist()]
    subjects = table["subject"].to_pylist() if "subject" in columns else [None] * len(table)
    given_ids = table["id"].to_pylist() if "id" in columns else names
    ids = [_named(i, answer) for i, answer in zip(given_ids, answers, strict=True)]
    reasons = [_reason(age, answer) for age, answer in zip(ages, answers, strict=True)]
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "subject": pa.array([None if s is None else str(s) for s in subjects], pa.string()),
            "age": pa.array(ages, pa.float32()),
            "image": pa.array([a if isinstance(a, bytes) else None for a in answers], pa.large_binary()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


def _named(row_id: Any, answer: Any) -> str:
    """A row's id; one without is named by its image, so that copies of an image share a name."""
    if row_id is not None:
        return str(row_id)
    return hashlib.blake2b(answer, digest_size=8).hexdigest() if isinstance(answer, bytes) else "a row without id"


def _absolute(name: str | None, folder: str) -> str | None:
    if not name or split(name)[0] != "file" or name.startswith(("/", "file://")):
        return name
    return f"{folder}/{name}"


def _reason(age: float | None, answer: Any) -> str | None:
    if age is None or not 0 <= age <= OLDEST:
        return "no age" if age is None else f"an age of {age:g} years"
    if isinstance(answer, FetchError):
        return f"{answer.status}: {answer.reason}"
    if not answer:
        return "no image"
    try:
        decode(answer, 32, _MAX_PIXELS)
    except DecodeError as error:
        return f"{error.status}: {error.reason}"
    return None


def _bad(table: pa.Table) -> pa.Table:
    rows = table.filter(pc.is_valid(table["reason"]))
    return rows.select(_BAD.names).cast(_BAD)


def _good(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["reason"])).select(ROW.names)
