"""The rows that a run trains on, calibrates on and measures progress on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.datasets.age_groups import AgeGroup, ordered
from cilf.errors import UsageError
from cilf.storage import Location
from cilf.training.balance import bounds
from cilf.training.calibrate import check_subjects
from cilf.training.epochs import showings
from cilf.training.recipe import Recipe, Source
from cilf.training.rows import KEPT, Rows, ToFit, age_groups, check_share, fitted_rows, read_rows, subject_keys
from cilf.training.run_folder import write_bad_rows
from cilf.training.sources import TASK_CPUS

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The rows of one source."""

    source: Source
    known: Rows
    """Rows to train on and, if there are rows to measure progress on, to calibrate on."""
    chosen: Rows | None
    """Rows to measure progress on."""
    fitted_N: np.ndarray
    """bool: mask of the `known` rows to train on."""

    @cached_property
    def held_index(self) -> pa.Table:
        """The rows to calibrate on, without their images."""
        return self.known.index.filter(~self.fitted_N)

    @property
    def subjects(self) -> tuple[int, int]:
        """Number of subjects that are held out, and that are not."""
        keys = subject_keys(self.known.index)
        held, fitted = (len(keys.filter(mask).unique()) for mask in (~self.fitted_N, self.fitted_N))
        return held, fitted

    def held(self) -> Dataset:
        """The rows to calibrate on: ROW."""
        return self.known.of(subject_keys(self.held_index))

    def first(self, count: int) -> pa.Table:
        """Rows to train on among the first `count`: ROW."""
        table = pa.concat_tables(self.known.good.limit(count).iter_batches(batch_format="pyarrow"))
        return table.filter(pc.invert(pc.is_in(subject_keys(table), value_set=subject_keys(self.held_index))))

    def groups(self) -> set[AgeGroup]:
        """All age groups of the source if its rows to measure progress on have groups instead of ages; else none."""
        if self.chosen is None or not len(self.chosen) or self.chosen.index["age_low"].null_count:
            return set()
        return age_groups(self.known) | age_groups(self.chosen)


@dataclass(frozen=True)
class Material:
    """Labelled photographs, divided into rows to train on, to calibrate on and to measure progress on."""

    parts: list[Part]
    """The rows of each source."""
    fit: Dataset
    """Rows to train on: ROW and `repeat`, the number of times that a row is shown in an epoch."""
    fitted: pa.Table
    """The same rows, without the images."""
    groups: list[AgeGroup]
    """Age groups of the rows to measure progress on that have a group instead of an age, youngest first."""
    oldest: float
    """Last year of open groups."""
    left_out: int
    """Number of rows that cannot be used."""

    @property
    def measured(self) -> list[tuple[Part, Rows]]:
        """The parts that have rows to measure progress on, and these rows."""
        return [(part, part.chosen) for part in self.parts if part.chosen is not None]

    @cached_property
    def held(self) -> Dataset:
        """Rows to calibrate on: ROW."""
        return _union([part.held() for part, _ in self.measured])

    @cached_property
    def held_index(self) -> pa.Table:
        """The same rows, without the images and in another order."""
        return pa.concat_tables([part.held_index for part, _ in self.measured])

    @cached_property
    def choose(self) -> Dataset:
        """Rows to measure progress on: ROW."""
        return _union([chosen.good for _, chosen in self.measured])

    @property
    def chosen(self) -> int:
        """Number of rows to measure progress on."""
        return sum(len(chosen) for _, chosen in self.measured)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last possible age of each fitted row in years, float32 [N]."""
        return bounds(self.fitted, self.oldest)

    @property
    def ages_N(self) -> np.ndarray:
        """Ages of the rows of the first epoch, float32, years; for a group, its middle."""
        return np.repeat(self.fitted["age"].to_numpy(), self.showings(0))

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Captions of the rows to train on, each once."""
        return tuple(sorted(self.fitted["caption"].drop_null().unique().to_pylist()))

    @property
    def subjects(self) -> pa.Array:
        """Keys of all subjects to train or calibrate on."""
        return pa.chunked_array([subject_keys(part.known.index) for part in self.parts]).unique()

    def first(self, count: int) -> pa.Table:
        """Rows to train on among the first `count` of each source: ROW."""
        return pa.concat_tables([part.first(count) for part in self.parts])

    def showings(self, epoch: int) -> np.ndarray:
        """Number of times that each fitted row is shown in an epoch, int64 [N]."""
        return showings(self.fitted["repeat"].to_numpy(), self.fitted["content"].to_numpy(), epoch)

    def rows_per_epoch(self, epochs: int) -> int:
        """Number of rows in the shortest epoch: with `repeat`, epochs may differ by a few rows."""
        return min(int(self.showings(epoch).sum()) for epoch in range(max(1, epochs)))


def gather(recipe: Recipe, output: Location) -> Material:
    """Read all rows of a recipe; rows that cannot be used are written to bad_rows.csv.

    Raises:
        UsageError: training cannot read the data, or it has too few subjects.
        JobError: too many rows are bad.
    """
    read = [_read(source, recipe) for source in recipe.data]
    left_out = write_bad_rows(output, [(known.bad, chosen.bad if chosen else []) for known, chosen in read])
    for source, rows in zip(recipe.data, read, strict=True):
        for found in filter(None, rows):
            check_share(found, source.path)
            check_ranks(recipe, found, source.path)
    parts = [_part(source, *rows, recipe) for source, rows in zip(recipe.data, read, strict=True)]
    groups = set().union(*(part.groups() for part in parts))
    known = ordered(groups, " with ".join(part.source.path for part in parts if part.groups())) if groups else []
    check_subjects(*np.sum([part.subjects for part in parts if part.chosen is not None], axis=0).tolist())
    fits = [_fit(part, parts) for part in parts]
    fitted = [fit(part.known.index) for part, fit in zip(parts, fits, strict=True)]
    for source, rows in zip(recipe.data, fitted, strict=True):
        logger.info("training on %d faces of %s, %g times per epoch", len(rows), source.path, source.repeat)
    task: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None, "num_cpus": TASK_CPUS}
    learned = [part.known.good.map_batches(fit, **task) for part, fit in zip(parts, fits, strict=True)]
    return Material(parts, _union(learned), pa.concat_tables(fitted), known, recipe.model.ages.oldest, left_out)


def _read(source: Source, recipe: Recipe) -> tuple[Rows, Rows | None]:
    def rows(split: str | None) -> Rows:
        logger.info("reading %s of %s", "all rows" if split is None else f"the rows with split={split}", source.path)
        return read_rows(source, split, recipe.model)

    return rows(source.fit), None if source.choose is None else rows(source.choose)


def _part(source: Source, known: Rows, chosen: Rows | None, recipe: Recipe) -> Part:
    every_N = np.ones(len(known), bool)
    fitted_N = every_N if chosen is None else fitted_rows(known.index, recipe.held_out, recipe.seed)
    return Part(source, known, chosen, fitted_N)


def _union(datasets: list[Dataset]) -> Dataset:
    """The union of the datasets. Its blocks alternate in the same order each time, as a resumed run requires."""
    first, *others = datasets
    whole = first.union(*others) if others else first
    whole.context.execution_options.preserve_order = True
    return whole


def check_ranks(recipe: Recipe, rows: Rows, url: str) -> None:
    """Check that labels are ranks that the recipe names: others, clamped to the range, would be learned as wrong ranks.

    Raises:
        UsageError: a label is not a whole number, or not from youngest to oldest.
    """
    ages, label_N = recipe.model.ages, rows.index["age"].to_numpy()
    wrong_N = (label_N < ages.youngest) | (label_N > ages.oldest) | (label_N != np.rint(label_N))
    if ages.names is not None and wrong_N.any():
        raise UsageError(
            f"{wrong_N.sum()} of {len(rows)} rows of {url} have labels outside the {len(ages.names)} ranks "
            f"{ages.youngest} to {ages.oldest} that model.ages names (the first: {label_N[wrong_N][0]:g})"
        )


def _fit(part: Part, parts: Iterable[Part]) -> ToFit:
    """The transform that selects a part's rows to train on. It excludes the rows held out of any part and those that
    other parts measure progress on. A part's own splits may share people; that is up to its protocol."""
    kept = [other.held_index for other in parts]
    kept += [other.chosen.index for other in parts if other is not part and other.chosen is not None]
    kept_back = pa.concat_tables([index.select(KEPT) for index in kept])
    return ToFit(part.source.repeat, subject_keys(part.held_index).unique(), kept_back)
