"""Labelled photographs, wherever they lie -> one Ray dataset of rows that can be learned from, and a list of the rest.

    Parquet       a column `image` (encoded bytes), or `uri`
    CSV, JSONL    a column `uri` or `path`, relative to the file
    WebDataset    tars of `<key>.jpg` (or another kind of image) beside `<key>.json` with the labels

The labels are `age` (years), `split`, and where known `subject` and `id`. A row without an age may have a group,
`age_low` and `age_high` (years, both included; no `age_high`: and older), and is learned as the middle of the group. No
loss knows how wide the group is, nor the annotators' `age_std`, which is for evaluation.

A row with a `box` (left, top, right, bottom in the upright image, pixels; also as four columns of these names) is of
the face there, which is cut out once, as labelling would. Without one, the whole image is the face.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.card import Model
from cilf.datasets.age_groups import distinct_bounds, group_of_row, ordered, years
from cilf.datasets.face_rows import group_name
from cilf.datasets.known_boxes import BOX_COLUMNS, box_of
from cilf.errors import JobError, UsageError
from cilf.storage import Location, locate, problem
from cilf.training.examine import ROW, YEARS, examine

if TYPE_CHECKING:
    from ray.data import Dataset

_BAD = pa.schema([("id", pa.string()), ("reason", pa.string())])

MAX_BAD_SHARE = 0.05
"""More bad rows than this are no accident: the wrong column, a broken copy, a store that fails."""

TASK_CPUS = 0.5
"""Of a task that reads or decodes: it waits for the store, or shares a core with a training worker."""

_KINDS = ("parquet", "tar", "csv", "jsonl")
_LABELS = ("id", "subject", "split", *YEARS, *BOX_COLUMNS)
_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif")


@dataclass(frozen=True)
class Rows:
    """What can be learned from, in Ray's object store, and what cannot."""

    good: Dataset
    """ROW; materialised."""
    bad: list[dict[str, str]]
    """id and reason of each row left out."""
    index: pa.Table
    """The good rows but for their images, in their order."""

    def __len__(self) -> int:
        return len(self.index)

    def of(self, keys: pa.Array) -> Dataset:
        """The good rows of some subjects, by their `subject_keys`."""
        task: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": TASK_CPUS}
        return self.good.map_batches(partial(_having, keys=keys.unique()), **task)


def read_rows(url: str, wanted_split: str | None, model: Model) -> Rows:
    """All rows of a split, each looked at once: its age is plausible and its image decodes to the end.

    Args:
        model: what is to learn from them.

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
    examined = found.map_batches(partial(examine, folder=source.parent.url, model=model), **task).materialize()
    bad = examined.map_batches(_bad, **task).take_all()
    good = examined.map_batches(_good, **task).materialize()
    names = pa.schema([field for field in ROW if field.name not in ("image", "body")])
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


def check_groups(known: Rows, chosen: Rows, url: str) -> None:
    """Stop where the rows to choose by have groups instead of ages, and no age could be told to be in one of them.

    Raises:
        UsageError: there is one group alone, or two have years in common.
    """
    if len(chosen) and chosen.index["age_low"].null_count == 0:
        pairs = {pair for rows in (known, chosen) for pair in distinct_bounds(rows.index)}
        ordered(filter(None, (group_of_row(*pair) for pair in pairs)), url)


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
    wanted = [*([] if {"age_low", "age_high"} <= set(names) else ["age"]), *(["split"] if wanted_split else [])]
    missing = [name for name in wanted if name not in names]
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
            said = {name: labels[name] for name in _LABELS if name in labels}
            rows.append({"id": sample["__key__"], **said, "box": box_of(labels), "image": image})
    text = [pa.array([group_name(r.get(n)) for r in rows], pa.string()) for n in ("id", "subject")]
    numbers = [pa.array([years(r.get(n)) for r in rows], pa.float32()) for n in YEARS]
    boxes = pa.array([r.get("box") for r in rows], pa.list_(pa.float32()))
    images = pa.array([r["image"] for r in rows], pa.large_binary())
    return pa.table([*text, *numbers, boxes, images], names=["id", "subject", *YEARS, "box", "image"])


def _bad(table: pa.Table) -> pa.Table:
    rows = table.filter(pc.is_valid(table["reason"]))
    return rows.select(_BAD.names).cast(_BAD)


def _good(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["reason"])).select(ROW.names)
