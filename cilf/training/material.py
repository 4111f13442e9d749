"""What a run learns from, calibrates on and chooses by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.errors import UsageError
from cilf.storage import Location
from cilf.training.calibrate import check_subjects
from cilf.training.recipe import Recipe
from cilf.training.rows import Rows, check_groups, check_share, fitted_rows, read_rows, subject_keys
from cilf.training.run_folder import write_bad_rows
from cilf.training.sources import TASK_CPUS

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """Labelled photographs, each in one of three places."""

    known: Rows
    """The base set's, to learn from and to calibrate on."""
    chosen: Rows
    """To measure progress on."""
    fit: Dataset
    """To learn from, those added to the base set included: ROW; materialised."""
    fitted: pa.Table
    """The same but for the images, the base set's first."""
    held: Dataset
    """To calibrate on: ROW."""
    held_index: pa.Table
    """The same but for the images."""
    left_out: int
    """Rows that cannot be used."""

    @property
    def ages_N(self) -> np.ndarray:
        """float32, years, of the rows to learn from."""
        return self.fitted["age"].to_numpy()

    @property
    def subjects(self) -> pa.Array:
        """The keys of all who are learned from or calibrated on."""
        return pa.chunked_array([subject_keys(self.known.index), subject_keys(self.fitted)]).unique()


def gather(recipe: Recipe, output: Location) -> Material:
    """Read all rows of a recipe; those that cannot be used go to bad_rows.csv.

    Raises:
        UsageError: the data is not what training reads, or shows too few people.
        JobError: too many rows are bad.
    """
    data = recipe.data
    places = [
        (data.path, data.fit),
        (data.choose_path or data.path, data.choose),
        *((more.path, more.fit) for more in data.more),
    ]
    read = [_read(url, split, recipe) for url, split in places]
    left_out = write_bad_rows(output, *[rows.bad for rows in read])
    for (url, _), rows in zip(places, read, strict=True):
        check_share(rows, url)
        check_ranks(recipe, rows, url)
    known, chosen, *more = read
    check_groups(known, chosen, places[1][0])
    fitted_N = fitted_rows(known.index, recipe.held_out, recipe.seed)
    keys = subject_keys(known.index)
    fitted, held = (len(keys.filter(mask).unique()) for mask in (fitted_N, ~fitted_N))
    check_subjects(held, fitted, bool(recipe.folds))
    held_index, parts = known.index.filter(~fitted_N), [(known.of(keys.filter(fitted_N)), known.index.filter(fitted_N))]
    kept = _kept_back(held_index, chosen.index)
    for source, rows in zip(data.more, more, strict=True):
        parts += [_added(rows, number, kept) for number in range(source.repeat)]
        logger.info("%d faces are added from %s, %d times each", len(parts[-1][1]), source.path, source.repeat)
    return Material(
        known,
        chosen,
        _joined([rows for rows, _ in parts]),
        pa.concat_tables([index for _, index in parts]),
        known.of(keys.filter(~fitted_N)),
        held_index,
        left_out,
    )


def _joined(parts: list[Dataset]) -> Dataset:
    """All parts, materialised. Their blocks alternate in the same order each time, as a resumed run requires."""
    first, *others = parts
    whole = first.union(*others) if others else first
    whole.context.execution_options.preserve_order = True
    return whole.materialize()


def _read(url: str, split: str | None, recipe: Recipe) -> Rows:
    logger.info("reading %s of %s", "all rows" if split is None else f"the rows with split={split}", url)
    return read_rows(url, split, recipe.model)


def check_ranks(recipe: Recipe, rows: Rows, url: str) -> None:
    """Stop where labels are none of the ranks that the recipe names: held inside the range, they would teach wrongly.

    Raises:
        UsageError: a label is no whole number, or not from youngest to oldest.
    """
    ages, label_N = recipe.model.ages, rows.index["age"].to_numpy()
    wrong_N = (label_N < ages.youngest) | (label_N > ages.oldest) | (label_N != np.rint(label_N))
    if ages.names is not None and wrong_N.any():
        raise UsageError(
            f"{wrong_N.sum()} of {len(rows)} rows of {url} have labels that are none of the {len(ages.names)} ranks "
            f"{ages.youngest} to {ages.oldest} which model.ages names (the first: {label_N[wrong_N][0]:g})"
        )


def _kept_back(held: pa.Table, chosen: pa.Table) -> pa.Table:
    """`subject` and `content` of what must not be learned from."""
    return pa.concat_tables([held, chosen]).select(["subject", "content"])


def _added(rows: Rows, number: int, kept: pa.Table) -> tuple[Dataset, pa.Table]:
    """One copy of further rows to learn from, and the same but for the images."""
    take = partial(_copy, number=number, kept=kept)
    task = rows.good.map_batches(take, batch_format="pyarrow", batch_size=None, num_cpus=TASK_CPUS)
    return task, take(rows.index)


def _copy(table: pa.Table, number: int, kept: pa.Table) -> pa.Table:
    """The rows of which nothing is kept back. Copies are of one person, and have ids of their own, as augmentation goes
    by these."""
    known = [pc.is_in(table[name], value_set=kept[name].unique().drop_null()) for name in kept.column_names]
    table = table.filter(pc.invert(pc.or_(*known)))
    places = [table.schema.get_field_index(name) for name in ("subject", "id")]
    ids = pc.binary_join_element_wise(table["id"], f"copy {number}", "\0") if number else table["id"]
    for place, column in zip(places, (subject_keys(table), ids), strict=True):
        table = table.set_column(place, table.schema.field(place), column)
    return table
