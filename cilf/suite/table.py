"""Tables that compare the systems of a suite, with a row of figures for each, as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from cilf.bench.machine import Machine, this_machine
from cilf.evaluation.figures import SMALLEST
from cilf.evaluation.layout import plain, with_ends
from cilf.own_files import check_results
from cilf.protocols.leakage import Shared, told
from cilf.storage import Location, write_all
from cilf.suite.differences import against, by_band, faces
from cilf.suite.picture import picture
from cilf.suite.plan import Run
from cilf.suite.reported import REPORTED
from cilf.suite.result import Entry, Result, by_data

_NAMED = 10
"""Largest number of missing runs that are listed."""


def write_tables(runs: Sequence[Run], results: Sequence[Result], output: Location, command: str) -> list[str]:
    """Write DATA.json, .csv, .md and .png for each data set; returns the names of the files.

    Args:
        runs: all runs of the suite, in its order.
        results: results of the finished runs.
    """
    machine, written = this_machine(), []
    for data, systems in by_data(results).items():
        named = {system.name: system for system in systems}
        reference = next(named[run.system] for run in runs if run.data == data and run.system in named)
        done = [result.run for system in systems for result in system.results]
        missing = [run.place for run in runs if run.data == data and run not in done]
        files = {
            f"{data}.json": as_json(data, systems, missing, command, machine).encode(),
            f"{data}.csv": as_csv(systems).encode(),
            f"{data}.md": markdown(data, systems, reference, missing, command, machine).encode(),
            f"{data}.png": picture(data, systems),
        }
        write_all(output, files)
        written += sorted(files)
    return written


def check_tables(runs: Sequence[Run], output: Location) -> None:
    """Make sure that the tables overwrite only tables of a suite.

    Raises:
        UsageError: the folder holds other files with the names of the tables.
    """
    for data in dict.fromkeys(run.data for run in runs):
        check_results(output, [f"{data}.{kind}" for kind in ("json", "csv", "md", "png")], "command", "systems")


def row(system: Entry) -> dict[str, Any]:
    """Figures of a system: years or ranks, shares in per cent; the deviation is None for a single fold or seed."""
    figures: dict[str, Any] = {}
    for measure in system.kind.measures:
        values = system.values(measure.of)
        figures[measure.name] = round(float(values.mean()), measure.digits + 1)
        if measure.spread:
            deviation = round(float(values.std(ddof=1)), measure.digits + 1) if len(values) > 1 else None
            figures[f"{measure.name}_std"] = deviation
    return {
        "system": system.name,
        "seeds": len(system.seeds),
        **({"folds": len(system.folds)} if system.folds else {}),
        **figures,
        "images_per_s": round(float(system.mean(lambda record: record["speed"]["estimation_images_per_second"])), 1),
        "parameters": system.parameters,
    }


def as_csv(systems: Sequence[Entry]) -> str:
    """CSV with a row per system."""
    rows = [row(system) for system in systems]
    left_out = {measure.name for measure in systems[0].kind.measures if not measure.in_csv}
    columns = [name for name in rows[0] if name not in left_out]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def as_json(data: str, systems: Sequence[Entry], missing: Sequence[str], command: str, machine: Machine) -> str:
    """JSON with the rows, the figures of every run, the missing runs and the machine."""
    record = {
        "format": 1,
        "data": data,
        "command": command,
        "machine": vars(machine),
        "leakage": _leakage(_largest(systems)),
        "missing": missing,
        "systems": [
            {
                **row(system),
                "own_backbone": system.own_backbone,
                "runs": [
                    {
                        "seed": result.run.seed,
                        "fold": result.run.fold,
                        "figures": result.record["figures"],
                        "speed": result.record["speed"],
                    }
                    for result in system.results
                ],
            }
            for system in systems
        ],
        "reported": [vars(figure) for figure in REPORTED],
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(
    data: str, systems: Sequence[Entry], reference: Entry, missing: Sequence[str], command: str, machine: Machine
) -> str:
    """Markdown with the table and its conditions, the differences between systems, and the figures of papers.

    Args:
        reference: the system that the others are compared with, the first of the suite that has a finished run.
        missing: runs that are not finished.
    """
    kind, whole = systems[0].kind, _largest(systems)
    split = whole.results[0].record["data"]["split"]
    faces = {result.run.fold: result.record["data"]["evaluated"] for result in whole.results}
    folds = f" in {len(faces)} folds" if systems[0].folds else ""
    parts = [
        f"# Comparison of systems on {data}",
        f"    {command}",
        f"{_budget(systems)}, with the same faces, crops and augmentation, and the same image tower unless a system "
        f"has its own; {_repeats(systems)}. Measured on the {sum(faces.values()):,} faces of "
        f"split={split}{folds}, which are not part of the training data. {kind.meaning}, ± the standard deviation over "
        f"{'folds' if systems[0].folds else 'seeds'}.",
        *filter(None, [_leakage(whole), _unfinished(missing)]),
        _table(_headings(systems), [_cells(system) for system in systems]),
    ]
    if any(system.own_backbone for system in systems):
        parts.append("Own backbone: the system has its own image tower, which starts from random weights.")
    parts += [
        f"Images/s: of estimation, correction included, on {machine.cores} cores of {machine.cpu}, "
        f"{machine.memory_gb:g} GB" + (f", {', '.join(machine.gpus)}" if machine.gpus else "") + ". "
        f"CILF {machine.versions['cilf']}, torch {machine.versions['torch']}, Ray {machine.versions['ray']}.",
        f"![Picture of all systems]({data}.png)",
    ]
    if kind.unit:
        parts += _differences(systems, reference, kind.unit)
    parts += [
        "## Figures from papers",
        "Each was measured under its own protocol, most of them on other faces: the rows are not comparable with each "
        "other or with the table above.",
        _table(
            ("system", "data", "figure", "source"), [(f.system, f.data, f.figure, f.source) for f in REPORTED], "---"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _differences(systems: Sequence[Entry], reference: Entry, unit: str) -> list[str]:
    measured = [faces(system) for system in systems]
    theirs = measured[list(systems).index(reference)]
    bands = by_band(systems, measured)
    rows = []
    for place, (system, ours) in enumerate(zip(systems, measured, strict=True)):
        difference = None if system is reference else against(ours, theirs)
        apart = with_ends(difference, sign="+") if difference else ""
        rows.append([system.name, apart, *(_figure(band.mae[place]) for band in bands)])
    headings = ["system", f"against {reference.name}", *(f"{plain(band.name)} ({band.faces:,})" for band in bands)]
    pooled = ", pooled over all folds" if reference.folds else ""
    return [
        "## Differences",
        f"MAE in {unit}{pooled}: its difference from that of {reference.name} on the same faces, with a 95 % bootstrap "
        f"interval, and MAE by band of true values (number of faces; – for fewer than {SMALLEST}). A difference whose "
        "interval contains 0 may be due to chance. The interval does not include the variation between seeds.",
        _table(headings, rows),
    ]


def _largest(systems: Sequence[Entry]) -> Entry:
    """A system with the most runs, which shows the faces that a complete system was measured on."""
    return max(systems, key=lambda system: len(system.results))


def _unfinished(missing: Sequence[str]) -> str | None:
    if not missing:
        return None
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    return f"Not finished, and not included in these means: {', '.join(missing[:_NAMED])}{more}."


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _budget(systems: Sequence[Entry]) -> str:
    recipes = [result.run.recipe for system in systems for result in system.results]
    budgets = {(recipe.epochs, recipe.batch_size, recipe.model.images.size) for recipe in recipes}
    if len(budgets) > 1:
        return "With different budgets (see recipe.yaml of the runs)"
    epochs, batch, size = budgets.pop()
    if not epochs:
        return f"Without training, with the towers' given weights, on images of {size} x {size} pixels"
    length = "one epoch" if epochs == 1 else f"{epochs} epochs"
    return f"With equal budgets, {length} in batches of {batch} images of {size} x {size} pixels"


def _repeats(systems: Sequence[Entry]) -> str:
    seeds = sorted({seed for system in systems for seed in system.seeds})
    folds = {fold for system in systems for fold in system.folds}
    over = f"one seed ({seeds[0]})" if len(seeds) == 1 else f"{len(seeds)} seeds"
    if folds:
        return f"means over {len(folds)} folds, {over}"
    return f"{over}, so without a deviation" if len(seeds) == 1 else over


def _leakage(system: Entry) -> str | None:
    """Leakage of the runs of one seed, which is the same for all systems; None for old runs without leakage."""
    of_one_seed = [result.record for result in system.results if result.run.seed == system.seeds[0]]
    found = [record["leakage"] for record in of_one_seed if "leakage" in record]
    if len(found) < len(of_one_seed):
        return None
    if len(found) == 1:
        return str(found[0]["told"])
    names = [field.name for field in fields(Shared)]
    return told([Shared(**{name: one[name] for name in names}) for one in found])


def _headings(systems: Sequence[Entry]) -> list[str]:
    repeats = "folds x seeds" if systems[0].folds else "seeds"
    return ["system", repeats, *(measure.heading for measure in systems[0].kind.measures), "images/s", "parameters"]


def _cells(system: Entry) -> list[str]:
    figures, shown = row(system), []
    for measure in system.kind.measures:
        deviation = figures.get(f"{measure.name}_std")
        spread = "" if deviation is None else f" ± {deviation:.{measure.digits}f}"
        shown.append(f"{figures[measure.name]:.{measure.digits}f}{measure.unit}{spread}")
    return [
        system.name + (" (own backbone)" if system.own_backbone else ""),
        f"{figures['folds']} x {figures['seeds']}" if system.folds else str(figures["seeds"]),
        *shown,
        f"{figures['images_per_s']:,.0f}",
        f"{figures['parameters']:,}",
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], rest: str = "---:") -> str:
    """Markdown table; `rest` is the alignment of the columns after the first."""
    lines = [headings, ["---", *[rest] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
