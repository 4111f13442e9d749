"""Tables of results, for the terminal and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from cilf.bench.correction import Correction
from cilf.bench.machine import Machine
from cilf.bench.pipeline import Run
from cilf.bench.result import Result
from cilf.bench.timing import Slope


@dataclass(frozen=True)
class Grid:
    """A table; all columns except the first and the last are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def shown(self) -> Table:
        """The table for a terminal."""
        table = Table(box=None, header_style="bold", title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if 0 < number < len(self.columns) - 1 else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table as Markdown."""
        rule = ("---", *("---:" for _ in self.columns[1:-1]), "---")
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        return "\n".join((f"## {self.title}", "", *lines, ""))


def grids(result: Result) -> list[Grid]:
    """All tables of a result."""
    out = [Grid("Images per second", ("", "images/s", ""), _speeds(result))]
    if result.cost and result.middle:
        columns = ("processes", "at most", "peak MB", "CPU s", "")
        out += [
            Grid("A run", ("", "", ""), _run(result, result.cost, result.middle)),
            Grid("Time by stage", ("stage", "process s", "ms/image", ""), _stages(result, result.middle)),
            Grid("Memory and CPU time by process", columns, _processes(result.machine, result.middle)),
        ]
    if result.correction:
        out.append(Grid("Cost of correction", ("", "images/s", ""), _correction(result.correction)))
    return out


def heading(machine: Machine) -> str:
    """Description of the machine in one line."""
    devices = [f"{machine.cores} cores ({machine.cpu})", *machine.gpus, f"{machine.memory_gb:g} GB of memory"]
    return ", ".join(devices)


def caution(machine: Machine) -> str | None:
    """Warning if the machine was busy; None if it was idle."""
    if not machine.busy:
        return None
    return f"Other processes were running (load {machine.load:g} on {machine.cores} cores): figures are too low."


def labelled(result: Result) -> str:
    """Description of the labelled objects and the number of runs, in one line."""
    kinds = {
        "crops": "200 x 200 JPEG crops",
        "snapshots": "1152 x 864 JPEG photographs",
        "photographs": "4032 x 3024 JPEG photographs",
        "s3": "200 x 200 JPEG crops",
    }
    latency = result.objects.latency_ms
    place = "local files" if latency is None else f"a local S3 store that answers after {latency:g} ms"
    counts = f"runs of {result.objects.few:,} and {result.objects.many:,}, medians of {result.rounds}"
    return f"{kinds[result.objects.kind]} of {result.objects.mean_bytes / 1e3:.0f} kB from {place}; {counts}"


def _speeds(result: Result) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    stages = (("fetching", result.fetch), ("decoding", result.decode), ("decoding and finding faces", result.faces))
    for title, rates in stages:
        if rates:
            rows.append((f"{title} alone", _rate(statistics.median(rates)), "a process per core"))
    if result.model_images_per_s is not None:
        asked = f"{result.model[0].asked:.1%} of the images get a second look"
        rows.append(("the model alone", _rate(result.model_images_per_s), asked))
    if result.limit_images_per_s is not None:
        before = "decoding and faces" if result.faces else "decoding"
        shared = f"{before} and the model on the same cores"
        why = f"the slower of {before} and the model" if result.machine.gpus else shared
        rows.append(("limit", _rate(result.limit_images_per_s), why))
    if result.cost:
        spread = f"per further image; runs differ by {result.cost.spread:.0%}"
        rows.append(("the whole pipeline", _rate(result.cost.images_per_s), spread))
    if result.cost_of_faces is not None:
        rows.append(("finding faces adds", f"{result.cost_of_faces:.0%}", "to decoding and estimating one crop"))
    if result.share_of_limit is not None:
        rows.append(("share of the limit", f"{result.share_of_limit:.2f}", ""))
    return rows


def _run(result: Result, cost: Slope, run: Run) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("fixed cost", f"{cost.fixed_seconds:.1f}", "s"),
        ("first row after", f"{run.seconds_to_first_row:.1f}", "s"),
    ]
    if run.gpu_busy is not None:
        rows.append(("GPU busy", f"{run.gpu_busy:.0%}", "of the time after the first row"))
    if result.cost_per_million is not None:
        rows.append(("cost per million images", f"{result.cost_per_million:,.2f}", f"at {result.price:g} per hour"))
    return rows


def _stages(result: Result, run: Run) -> list[tuple[str, ...]]:
    notes = {"fetch": "mostly waiting"} | ({"decode": "with finding faces"} if result.faces else {})
    return [
        (stage, f"{seconds:.1f}", f"{1e3 * seconds / result.objects.many:.2f}", notes.get(stage, ""))
        for stage, seconds in run.stage_seconds.items()
    ]


def _processes(machine: Machine, run: Run) -> list[tuple[str, ...]]:
    available = machine.cores * run.seconds
    return [
        (
            kind,
            str(usage.processes or ""),
            f"{usage.peak_mb:,.0f}",
            f"{usage.cpu_seconds:.1f}",
            f"{usage.cpu_seconds / available:.0%} of the cores' time" if usage.cpu_seconds else "",
        )
        for kind, usage in run.usage.items()
    ]


def _correction(correction: Correction) -> list[tuple[str, ...]]:
    like = f"{correction.asked:.1%} of rows get a second look"
    return [
        ("the model without correction", _rate(correction.without_images_per_s), ""),
        ("with it, with second looks as in calibration", _rate(correction.with_images_per_s), like),
        ("cost", f"{correction.cost:.1%}", "of images/s"),
    ]


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:,.0f}" if images_per_s >= 100 else f"{images_per_s:.1f}"
