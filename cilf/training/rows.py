"""Reads labelled photographs into one Ray dataset of usable rows, and a list of the unusable ones.

cilf.training.sources finds and reads the files. The labels are `age` (years), `split`, and if known `subject` and `id`.
A row without an age may have a group, `age_low` and `age_high` (years, both included; without `age_high`: and older).
CILF-CIAE learns from the probability inside the group, other systems from the group's middle. No loss uses the
annotators' `age_std`, which is for evaluation.

A row with a `box` (left, top, right, bottom in the upright image, pixels; also as four columns of these names) refers
to the face in it, which is cropped once, as in labelling. Without a box, the whole image is the face, or with `find` in
the recipe the face nearest to its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.card import Model
from cilf.datasets.age_groups import AgeGroup, distinct_bounds, group_of_row
from cilf.errors import JobError, UsageError
from cilf.training.examine import NO_FACE, ROW, examine
from cilf.training.recipe import Source
from cilf.training.sources import TASK_CPUS, open_source

if TYPE_CHECKING:
    from ray.data import Dataset

_BAD = pa.schema([("id", pa.string()), ("reason", pa.string())])
_INDEX = pa.schema([field for field in ROW if field.name not in ("image", "body")])

_ALONE = "\0row "

KEPT = ["subject", "content"]
"""Columns by which rows are excluded from training."""

MAX_BAD_SHARE = 0.05
"""A larger share of bad rows has a common cause: the wrong column, a broken copy, a store that fails."""


@dataclass(frozen=True)
class Rows:
    """The usable rows, in Ray's object store, and the unusable ones."""

    good: Dataset
    """ROW; selected each time from the checked rows, which are in the object store once."""
    bad: list[dict[str, str]]
    """id and reason of each row left out."""
    index: pa.Table
    """The good rows without their images, in the same order."""

    def __len__(self) -> int:
        return len(self.index)

    def of(self, keys: pa.Array) -> Dataset:
        """The good rows of the subjects with the given `subject_keys`."""
        task: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": TASK_CPUS}
        return self.good.map_batches(partial(_having, keys=keys.unique()), **task)


def read_rows(source: Source, split: str | None, model: Model) -> Rows:
    """Read all rows of a split and check each once: its age must be plausible and its image must decode completely.

    Args:
        source: the location of the rows, and how they are read.
        split: `fit` or `choose` of the source; None for every row.
        model: the model to be trained.

    Raises:
        UsageError: the data does not exist, has no column for image or age, or no rows of that split.
        JobError: the data could not be read completely.
    """
    found = open_source(source.path, split).dataset()
    found.context.execution_options.preserve_order = True  # the held-out rows depend on the order
    task: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None, "num_cpus": TASK_CPUS}
    try:
        examined = found.map_batches(
            partial(examine, model=model, find=source.find, words=source.words), **task
        ).materialize()
    except UsageError:
        raise
    except Exception as error:
        why = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise JobError(f"cannot read the labelled photographs at {source.path}: {why[-1][:500]}") from error
    bad = examined.map_batches(_bad, **task).take_all()
    found = examined.map_batches(_without_images, **task).iter_batches(batch_size=None, batch_format="pyarrow")
    index = pa.concat_tables([_INDEX.empty_table(), *found])
    if not len(index) and not bad:
        raise no_rows(source.path, split)
    return Rows(examined.map_batches(_good, **task), bad, index)


def no_rows(url: str, split: str | None) -> UsageError:
    """The error to raise if there are no rows to train on."""
    return UsageError(f"{url} has no rows" + (f" with split = {split!r}" if split else ""))


def check_share(rows: Rows, url: str) -> None:
    """Check that not too many rows are bad; photographs without a face do not count.

    Raises:
        JobError: more than MAX_BAD_SHARE of the rows are bad, or no face is found in any photograph.
    """
    total = len(rows) + len(rows.bad)
    bad = [row for row in rows.bad if row["reason"] != NO_FACE]
    if not len(rows) and not bad:
        raise JobError(f"no face is found in any of the {total} photographs of {url}")
    if len(bad) > MAX_BAD_SHARE * total:
        first = bad[0]
        raise JobError(
            f"{len(bad)} of {total} rows of {url} cannot be used for training, more than {MAX_BAD_SHARE:.0%} "
            f"(the first: {first['id']}: {first['reason']}; all are listed in bad_rows.csv)"
        )


def age_groups(rows: Rows) -> set[AgeGroup]:
    """The age groups of the rows that have a group instead of an age."""
    return set(filter(None, (group_of_row(*pair) for pair in distinct_bounds(rows.index))))


def subject_keys(index: pa.Table) -> pa.Array:
    """The key of each row's person: its subject or, if that is unknown, a key of the row's own that no subject has, as
    if it showed another person."""
    alone = pc.binary_join_element_wise(_ALONE, index["id"], "")
    return pc.coalesce(index["subject"], alone).combine_chunks()


def subject_numbers(rows: pa.Table, subjects: pa.Array) -> np.ndarray:
    """The position of each row's key in `subjects`, int64 [N]."""
    return pc.index_in(subject_keys(rows), value_set=subjects).to_numpy().astype(np.int64)


def fitted_rows(index: pa.Table, held_out: float, seed: int) -> np.ndarray:
    """Mask of the rows to train on, bool [N]. The other rows share no subject with these; the same seed draws the same
    rows."""
    keys = subject_keys(index)
    subjects = keys.unique()
    order = np.random.default_rng(seed).permutation(len(subjects))
    held = subjects.take(pa.array(np.sort(order[: round(len(subjects) * held_out)])))
    return ~pc.is_in(keys, value_set=held).to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class ToFit:
    """Transform from ROW, with or without images, to the rows to train on, with `repeat`. Runs in tasks without
    torch."""

    repeat: float
    held: pa.Array
    """The `subject_keys` that are held out of the same source."""
    kept: pa.Table
    """`subject` and `content` of rows to exclude, from all sources."""

    def __call__(self, table: pa.Table) -> pa.Table:
        known = [pc.is_in(table[name], value_set=self.kept[name].unique().drop_null()) for name in KEPT]
        kept = reduce(pc.or_, [*known, pc.is_in(subject_keys(table), value_set=self.held)])
        table = table.filter(pc.invert(kept))
        return table.append_column("repeat", pa.repeat(pa.scalar(self.repeat, pa.float32()), len(table)))


def _having(table: pa.Table, keys: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(subject_keys(table), value_set=keys))


def _bad(table: pa.Table) -> pa.Table:
    rows = table.filter(pc.is_valid(table["reason"]))
    return rows.select(_BAD.names).cast(_BAD)


def _good(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["reason"])).select(ROW.names)


def _without_images(table: pa.Table) -> pa.Table:
    return table.select([*_INDEX.names, "reason"]).filter(pc.is_null(table["reason"])).select(_INDEX.names)
