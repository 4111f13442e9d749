"""Everything that the page tells, asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cilf.config import ReportOptions
from cilf.report.drift import Drift, compare
from cilf.report.queries import BINS_PER_YEAR, Labels, Row
from cilf.report.review import queue, thumbnails
from cilf.report.runs import Record, read_records
from cilf.storage import Location

RUNS = 60
"""Of the newest runs, this many are shown."""
REASONS = 30
VALUES = 20
"""Of a slice."""
QUEUED = 100
"""Faces of the queue that the page shows; the files have all."""


@dataclass(frozen=True)
class Compared:
    """The ages of the newest run that has some, and those of the runs before it."""

    run: str
    model: str
    ages: Sequence[int]
    """Faces by bin of age."""
    before: Sequence[int]
    runs_before: int
    drift: Drift


@dataclass(frozen=True)
class Night:
    """The labels as they stand, and what the newest run has changed."""

    output: str
    totals: Row
    statuses: Sequence[Row]
    runs: Sequence[Row]
    """With rows in the labels, oldest first."""
    records: Mapping[str, Record]
    """By run id, the newest of them."""
    unreadable: Sequence[str]
    """Records that are none."""
    failures: Sequence[Row]
    models: Sequence[Row]
    model_ages: Mapping[str, Sequence[int]]
    compared: Compared | None
    slices: Mapping[str, tuple[Sequence[Row], int]]
    queued: pa.Table
    crops: Mapping[tuple[int, int], bytes]

    @property
    def newest(self) -> str:
        """The newest run of all, whether or not it got to label anything."""
        return max([*self.records, self.runs[-1]["run"]])

    @property
    def verdict(self) -> str:
        """Of the drift of ages, in words."""
        if self.compared is None:
            return "Nothing to compare: there is not one age."
        if not self.compared.runs_before:
            return "Nothing to compare with yet: this is the first run of its model."
        return self.compared.drift.verdict


def look(labels: Labels, output: Location, options: ReportOptions) -> Night:
    """Ask for everything.

    Raises:
        UsageError: the labels have no column that a slice was asked for by.
        JobError: the labels changed while they were read.
    """
    slices = {column: labels.slices(column, VALUES) for column in options.slice}
    labels.sum_up()
    runs, models = labels.by("run"), labels.by("model")
    records, unreadable = read_records(output, RUNS)
    newest_model = runs[-1]["of_model"]
    queued = queue(labels, newest_model, options.review) if options.review else pa.table({})
    return Night(
        output=output.url,
        totals=labels.totals(),
        statuses=labels.statuses(),
        runs=runs,
        records=records,
        unreadable=unreadable,
        failures=labels.failures(runs[-1]["run"], REASONS),
        models=models,
        model_ages={row["model"]: labels.ages(row["model"]) for row in models},
        compared=_compared(labels, runs, options.previous),
        slices=slices,
        queued=queued,
        crops=thumbnails(labels, queued.slice(0, QUEUED).to_pylist(), newest_model),
    )


def _compared(labels: Labels, runs: Sequence[Row], previous: int) -> Compared | None:
    with_ages = [row for row in runs if row["faces"]]
    if not with_ages:
        return None
    newest = with_ages[-1]
    model = newest["of_model"]
    # Another model would give other ages to the same faces.
    before = [row["run"] for row in with_ages[:-1] if row["of_model"] == model][-previous:]
    ages, ages_before = labels.ages(model, [newest["run"]]), labels.ages(model, before)
    drift = compare(ages, ages_before, BINS_PER_YEAR)
    return Compared(newest["run"], model, ages, ages_before, len(before), drift)
