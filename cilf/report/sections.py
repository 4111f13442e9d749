"""The contents of the page, section by section: figures -> text, plots and tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.filesize import decimal

from cilf.config import ReportOptions
from cilf.errors import INTERRUPTED
from cilf.labelling.database import Row
from cilf.labelling.records import Record
from cilf.report.estimates import ages, by_value, judgement, models
from cilf.report.night import QUEUED, RUNS, Night
from cilf.report.page import Cell, Page, Section, Table, amount, code, count, cut, image, share, words, years
from cilf.report.plots import Plot, Series, dates
from cilf.report.review import POOL, RULES
from cilf.words import counted


def page(night: Night, options: ReportOptions) -> Page:
    """The whole page."""
    totals = night.totals
    return Page(
        title=f"Ages in {cut(night.output)}",
        made=f"Created {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Newest run: {cut(night.newest)}.",
        notes=_notes(night),
        warnings=_warnings(night),
        tiles=[
            ("objects", f"{totals['objects']:,}"),
            ("with ages", share(totals["ok"] / totals["objects"]).text),
            ("failed", share(totals["failed"] / totals["objects"]).text),
            ("faces with an age", f"{totals['faces'] or 0:,}"),
            ("accepted", share(totals["accepted"]).text),
            ("stored", decimal(int(totals["bytes"]))),
        ],
        sections=[
            _labelled(night),
            _failures(night),
            ages(night),
            judgement(night),
            _speed(night, options.price),
            models(night),
            *(by_value(column, rows, values) for column, (rows, values) in night.slices.items()),
            *([_review(night)] if options.review else []),
        ],
    )


def _notes(night: Night) -> list[str]:
    """Notes on the model that the figures cover, if there are several models."""
    others = [row for row in night.models if row["model"] != night.current.model]
    if not others:
        return []
    beside = "; ".join(
        f"{_model(night, row['model'])}: {counted(row['objects'], 'object')}, {row['ok']:,} with ages"
        for row in reversed(others)
    )
    current = _model(night, night.current.model)
    return [
        f"Objects, statuses, reasons and columns are counted for the current model, {current}.",
        f"Labels of other models are not counted: {beside}.",
    ]


def _model(night: Night, fingerprint: str) -> str:
    name = night.model_names.get(fingerprint)
    return f"{cut(fingerprint, 24)} ({cut(name, 60)})" if name else cut(fingerprint, 24)


def _ended_early(night: Night) -> str | None:
    """A message about how the last run ended; None if it succeeded."""
    record = night.records.get(night.last)
    if record is None:
        return f"Run {cut(night.last)} has left no record: it is still running, or was killed."
    if record.error is None:
        return None
    run, rows = "The newest run", ""
    if night.last != night.newest:
        run, rows = f"{run}, {cut(night.last)},", " before its first row"
    if record.error == INTERRUPTED:
        return f"{run} was interrupted{rows}: repeat the command to resume it."
    return f"{run} ended early{rows}: {cut(record.error, 400)}"


def _warnings(night: Night) -> list[str]:
    said = [early] if (early := _ended_early(night)) else []
    if not night.named:
        said.append(
            "OUTPUT/current.json names no model that has labels: readers that filter by it see no rows. The figures "
            f"are those of model {cut(night.current.model)}."
        )
    if night.drifted:
        said.append(night.verdict)
    if night.unreadable:
        said.append(
            f"Not valid as records of runs, left out: {', '.join(cut(name, 60) for name in night.unreadable[:5])}"
        )
    return said


def _labelled(night: Night) -> Section:
    shown = night.runs[-RUNS:]
    kinds = {"with ages": "ok", "no face": "no_face", "failed": "failed"}
    plot = Plot(
        "Objects by run",
        f"Rows in the labels by the run that wrote them; the newest wrote {shown[-1]['objects']:,}.",
        "objects",
        dates([row["run"] for row in shown]),
        [Series(name, [row[column] for row in shown]) for name, column in kinds.items()],
        stacked=True,
    )
    statuses = Table(
        "By status",
        ("status", "objects", "share"),
        [
            (words(row["status"]), count(row["objects"]), share(row["objects"] / night.totals["objects"]))
            for row in night.statuses
        ],
    )
    rows = {row["run"]: row for row in shown}
    empty = Row(model=None, objects=0, ok=0, no_face=0, failed=0, faces=0)
    names = sorted({*rows, *night.records}, reverse=True)[:RUNS]
    runs = Table(
        "Runs",
        ("run", "objects", "with ages", "no face", "failed", "faces with an age", "result"),
        [
            (
                code(name),
                *(count(rows.get(name, empty)[column]) for column in ("objects", "ok", "no_face", "failed", "faces")),
                _ended(night, name),
            )
            for name in names
        ],
        f"Rows that the labels have now; a later run may have replaced some. The {len(names)} newest of "
        f"{len({*(row['run'] for row in night.runs), *night.records})} runs.",
    )
    return Section("How much was labelled", plots=[plot], tables=[statuses, runs])


def _ended(night: Night, run: str) -> Cell:
    record = night.records.get(run)
    if record is None:
        return words("no record")
    if record.error in (None, INTERRUPTED):
        return words(record.error or "succeeded")
    return code(record.error)


def _failures(night: Night) -> Section:
    if not night.failures:
        return Section("Objects without an age, by reason", ["Every object has an age."])
    table = Table(
        "By status and reason, all runs",
        ("status", "reason", "objects", "in the newest run", "examples"),
        [
            (
                words(row["status"]),
                code(row["reason"]),
                count(row["objects"]),
                count(row["newest"]),
                code(", ".join(cut(uri, 80) for uri in row["examples"]), 300),
            )
            for row in night.failures
        ],
    )
    return Section("Objects without an age, by reason", tables=[table])


def _speed(night: Night, price: float | None) -> Section:
    records = [record for _, record in sorted(night.records.items()) if record.labelled and record.seconds > 0]
    if not records:
        return Section("Speed and cost", ["No run has left a record of the time it took."])
    stages = sorted({stage for record in records for stage in record.stage_seconds})
    costs = () if price is None else ("cost", "per million")
    columns = (
        *("run", "labelled", "minutes", "start, s", "images/s"),
        *(f"{cut(stage, 20)}, ms/image" for stage in stages),
        *costs,
    )
    rows = [
        (
            code(record.run),
            count(record.labelled),
            years(record.seconds / 60),
            years(record.seconds_to_first_row),
            years(record.pace),
            *(years(1000 * record.stage_seconds.get(stage, 0) / record.labelled) for stage in stages),
            *(() if price is None else _costs(record, price)),
        )
        for record in reversed(records)
    ]
    note = (
        "images/s are those of steady work, after the start, for runs of 1,000 images or more. Stages are process time "
        "per image; processes work in parallel, and fetching is mostly waiting."
    )
    if price is None:
        note += " Add --price, the price of a run's machines per hour, to see the cost here."
    else:
        note += f" Cost at {price:g} per hour; the cost per million includes one start."
    table = Table("By run, from the runs' records", columns, rows, note)
    return Section("Speed and cost", plots=_pace(records), tables=[table])


def _costs(record: Record, price: float) -> tuple[Cell, Cell]:
    """The cost of a run, and of a million images in one such run."""
    million = (record.seconds_to_first_row + 1e6 / record.pace) if record.pace else None
    return amount(price * record.seconds / 3600), amount(million and price * million / 3600)


def _pace(records: Sequence[Record]) -> list[Plot]:
    steady = [(record.run, record.pace) for record in records if record.pace]
    if not steady:
        return []
    description = f"The newest run that is large enough to measure labelled {steady[-1][1]:,.1f} images/s."
    series = Series("images/s", [pace for _, pace in steady])
    return [Plot("Speed", description, "images/s of steady work", dates([run for run, _ in steady]), [series])]


def _review(night: Night) -> Section:
    if not len(night.queued):
        return Section("To review", ["There is no face to review."])
    rules = [f"{rule.name}: {rule.meaning} ({rule.share:.0%} of the queue)." for rule in RULES]
    with_crops = bool(night.crops)
    table = Table(
        "Faces most worth a look",
        (*(("face",) if with_crops else ()), "rule", "photograph", "number", "age", "from", "to", "before correction",
         "expected error, years", "detection"),
        [
            (
                *((_crop(night, row),) if with_crops else ()),
                words(row["rule"]),
                code(row["uri"]),
                count(row["face"]),
                *(years(row[name]) for name in ("age", "age_low", "age_high", "first_age", "expected_error")),
                amount(row["detection"]),
            )
            for row in night.queued.slice(0, QUEUED).to_pylist()
        ],
        f"The first {min(QUEUED, len(night.queued))} of {len(night.queued):,}. {night.review}.csv and .parquet have "
        "all of them, with the boxes. Fill in true_age there, and use --corrections to make training rows. Files that "
        "were filled in are kept.",
    )  # fmt: skip
    drawn = f"Drawn from the newest runs of the current model, which together hold {POOL} times the faces of the queue."
    return Section("To review", [drawn, *rules], tables=[table])


def _crop(night: Night, row: Row) -> Cell:
    jpeg = night.crops.get((row["id"], row["face"]))
    return words(None) if jpeg is None else image(jpeg)
