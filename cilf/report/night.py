"""All figures of the page, queried once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cilf.config import ReportOptions
from cilf.errors import UsageError
from cilf.labelling.current import Current, named_or_chosen
from cilf.labelling.database import Row
from cilf.labelling.records import Record, read_records
from cilf.report.answers import answered
from cilf.report.attempts import attempts
from cilf.report.drift import Drift, judge
from cilf.report.queries import BINS_PER_YEAR, Labels
from cilf.report.review import queue, thumbnails
from cilf.storage import Location

RUNS = 60
"""Number of newest runs that are shown and judged."""
REASONS = 30
VALUES = 20
"""Number of values of a slice that are shown."""
QUEUED = 100
"""Number of faces of the queue that the page shows; the files have all of them."""


@dataclass(frozen=True)
class Compared:
    """The ages of the newest runs that have any, and those of usual runs of the same model before them."""

    runs: Sequence[Sequence[str]]
    """The runs that are compared together, oldest first; each with all its attempts."""
    model: str
    new: bool
    """Whether these ages come from the newest runs of all. Otherwise they are the last ages there are, and not new."""
    ages: Sequence[int]
    """Number of faces per age bin."""
    before: Sequence[Sequence[int]]
    """The same for each run that they are compared with, all its attempts together."""
    drift: Drift


@dataclass(frozen=True)
class Night:
    """The current state of the labels, and the changes by the newest run."""

    output: str
    current: Current
    """The model whose labels readers use. `totals`, `statuses`, `failures`, `slices` and `queued` cover it alone."""
    totals: Row
    statuses: Sequence[Row]
    new: Sequence[Row]
    """Objects by status in the newest runs, whatever their model."""
    runs: Sequence[Row]
    """Runs that have rows in the labels, oldest first."""
    records: Mapping[str, Record]
    """The newest records by run id."""
    unreadable: Sequence[str]
    """Names of files that are not valid records."""
    failures: Sequence[Row]
    models: Sequence[Row]
    model_ages: Mapping[str, Sequence[int]]
    compared: Compared | None
    slices: Mapping[str, tuple[Sequence[Row], int]]
    queued: pa.Table
    crops: Mapping[tuple[int, int], bytes]
    review: str = "review"
    """Name of the queue's files below OUTPUT, without suffix."""
    named: bool = True
    """Whether OUTPUT/current.json names the current model."""

    @property
    def model_names(self) -> dict[str, str]:
        """Names of models by fingerprint, as far as records of runs have them."""
        return {record.model: record.model_name for record in self.records.values() if record.model_name}

    @property
    def newest(self) -> str:
        """The newest run that has rows in the labels."""
        return str(self.runs[-1]["run"])

    @property
    def last(self) -> str:
        """The newest run of all, whether or not it has labelled anything."""
        return max([*self.records, self.newest])

    @property
    def drifted(self) -> bool:
        """Whether the newest ages have drifted; False if there are no new ages."""
        return self.compared is not None and self.compared.new and self.compared.drift.raised

    @property
    def verdict(self) -> str:
        """The verdict on drift, in words."""
        if self.compared is None:
            return "Nothing to compare: there are no ages."
        if not self.compared.new:
            return f"Nothing new to compare: the last run that gave ages is {self.compared.runs[-1][-1]}."
        if not self.compared.before:
            return "Nothing to compare with yet: this is the first run of its model."
        return self.compared.drift.verdict


def look(labels: Labels, output: Location, options: ReportOptions) -> Night:
    """Query all figures of the page.

    Raises:
        UsageError: the labels have no rows, or lack a column of `slice`.
        JobError: the labels changed while they were read.
    """
    for column in options.slice:
        labels.check_own(column)
    labels.sum_up()
    runs, models = labels.by("run"), labels.by("model")
    if not runs:
        raise UsageError(f"the label files under {output.url} hold no rows: label something first")
    records, unreadable = read_records(output, RUNS)
    current = _current(output, [row["model"] for row in models], records)
    model = current.model
    together = _together(runs, records)
    since = options.since or together[-1][0]
    queued = queue(labels, model, options.review, answered(output)) if options.review else pa.table({})
    return Night(
        output=output.url,
        current=current,
        totals=next(row for row in models if row["model"] == model),
        statuses=labels.statuses(model),
        new=labels.statuses(since=since),
        runs=runs,
        records=records,
        unreadable=unreadable,
        failures=labels.failures(model, together[-1], REASONS),
        models=models,
        model_ages={row["model"]: labels.ages(row["model"]) for row in models},
        compared=_compared(labels, runs, together, since, options.previous),
        slices={column: labels.slices(column, model, VALUES) for column in options.slice},
        queued=queued,
        crops=thumbnails(labels, queued.slice(0, QUEUED).to_pylist(), model),
    )


def _current(output: Location, models: Sequence[str], records: Mapping[str, Record]) -> Current:
    current = named_or_chosen(output, models, records)
    assert current is not None, "there are labels"
    return current


def _together(runs: Sequence[Row], records: Mapping[str, Record]) -> list[list[str]]:
    """The runs that have rows, grouped by attempts, in the order of the last run of each group."""
    models = {row["run"]: row["of_model"] for row in runs}
    every = models | {name: record.model for name, record in records.items()}
    groups = attempts(every.items(), records, RUNS)
    with_rows = [[name for name in group if name in models] for group in groups]
    return sorted((group for group in with_rows if group), key=lambda group: group[-1])


def _compared(
    labels: Labels, runs: Sequence[Row], together: Sequence[Sequence[str]], since: str, previous: int
) -> Compared | None:
    models = {row["run"]: row["of_model"] for row in runs if row["faces"]}
    if not models:
        return None
    # Another model would give different ages to the same faces.
    model = models[max(models)]
    groups = [[name for name in group if models.get(name) == model] for group in together]
    groups = [group for group in groups if group]
    new = [group for group in groups if group[-1] >= since]
    now = new or groups[-1:]
    before = [group for group in groups if group not in now][-RUNS:]
    ages = [labels.ages(model, names) for names in [*before, [name for group in now for name in group]]]
    compared, drift = judge(ages, previous, BINS_PER_YEAR)
    return Compared(now, model, bool(new), ages[-1], [ages[index] for index in compared], drift)
