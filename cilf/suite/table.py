"""The systems of a suite side by side: a row of figures each, as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from cilf.bench.machine import Machine, this_machine
from cilf.storage import Location, write_all
from cilf.suite.picture import picture
from cilf.suite.reported import REPORTED
from cilf.suite.result import Entry, Result, by_data, mae

COLUMNS = ("system", "seeds", "mae", "mae_std", "cs5", "coverage90", "images_per_s", "parameters")
"""Of the CSV: years, CS and coverage in per cent; no deviation from a single seed."""

_HEADINGS = (
    *("system", "seeds", "MAE", "before correction", "CS(5), %", "in 90 % interval", "its width"),
    *("images/s", "parameters"),
)


def write_tables(results: Sequence[Result], output: Location, command: str) -> list[str]:
    """Write DATA.md, .csv, .json and .png for each data set; their names."""
    machine, written = this_machine(), []
    for data, systems in by_data(results).items():
        files = {
            f"{data}.csv": as_csv(systems).encode(),
            f"{data}.json": as_json(data, systems, command, machine).encode(),
            f"{data}.md": markdown(data, systems, command, machine).encode(),
            f"{data}.png": picture(data, systems),
        }
        write_all(output, files)
        written += list(files)
    return written


def row(system: Entry) -> dict[str, Any]:
    """A line of the CSV."""
    errors = system.values(mae)
    return {
        "system": system.name,
        "seeds": len(errors),
        "mae": round(float(errors.mean()), 3),
        "mae_std": round(float(errors.std(ddof=1)), 3) if len(errors) > 1 else None,
        "cs5": round(float(system.mean(lambda record: record["figures"]["cs5"])), 2),
        "coverage90": round(100 * float(system.mean(lambda record: record["figures"]["interval_coverage"]["all"])), 2),
        "images_per_s": round(float(system.mean(lambda record: record["speed"]["estimation_images_per_second"])), 1),
        "parameters": system.parameters,
    }


def as_csv(systems: Sequence[Entry]) -> str:
    """COLUMNS, a row per system."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(row(system) for system in systems)
    return text.getvalue()


def as_json(data: str, systems: Sequence[Entry], command: str, machine: Machine) -> str:
    """The rows, with every seed's figures, the recipes' common part and the machine."""
    record = {
        "format": 1,
        "data": data,
        "command": command,
        "machine": vars(machine),
        "systems": [
            {
                **row(system),
                "own_backbone": system.own_backbone,
                "mae_before_correction": _first(system),
                "interval_width": _width(system),
                "runs": [
                    {"seed": result.run.seed, "figures": result.record["figures"], "speed": result.record["speed"]}
                    for result in system.results
                ],
            }
            for system in systems
        ],
        "reported": [vars(figure) for figure in REPORTED],
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(data: str, systems: Sequence[Entry], command: str, machine: Machine) -> str:
    """The table with what it rests on, and what the papers report."""
    record = systems[0].results[0].record
    seeds = sorted({seed for system in systems for seed in system.seeds})
    ranks = all(result.run.recipe.model.ages.names for system in systems for result in system.results)
    over = f"one seed ({seeds[0]}), so without a deviation" if len(seeds) == 1 else f"{len(seeds)} seeds"
    parts = [
        f"# Systems of the field on {data}",
        f"    {command}",
        f"{_budget(systems)}, with the same faces, crops and augmentation, and the same image tower where a system "
        f"has none of its own; {over}. Measured on the {record['data']['evaluated']:,} faces of "
        f"split={record['data']['split']}, of which nothing was learned. MAE and widths in "
        f"{'ranks' if ranks else 'years'}, ± the standard deviation over seeds.",
        _table(
            (*_HEADINGS, "accuracy, %") if ranks else _HEADINGS,
            [_cells(system) + ([f"{_accuracy(system):.1f}"] if ranks else []) for system in systems],
        ),
    ]
    if any(system.own_backbone for system in systems):
        parts.append("Own backbone: the system has an image tower of its own, which starts from nothing.")
    parts += [
        f"Images/s: of estimation, correction included, on {machine.cores} cores of {machine.cpu}, "
        f"{machine.memory_gb:g} GB" + (f", {', '.join(machine.gpus)}" if machine.gpus else "") + ". "
        f"CILF {machine.versions['cilf']}, torch {machine.versions['torch']}, Ray {machine.versions['ray']}.",
        f"![MAE, cumulative score, calibration and risk-coverage]({data}.png)",
        "## What the papers report",
        "Under protocols of their own, most on other faces: no two rows are comparable, with each other or with the "
        "table above.",
        _table(
            ("system", "data", "figure", "source"), [(f.system, f.data, f.figure, f.source) for f in REPORTED], "---"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _budget(systems: Sequence[Entry]) -> str:
    recipes = [result.run.recipe for system in systems for result in system.results]
    budgets = {(recipe.epochs, recipe.batch_size, recipe.model.images.size) for recipe in recipes}
    if len(budgets) > 1:
        return "At unequal budget, each as recipe.yaml of its runs says"
    epochs, batch, size = budgets.pop()
    if not epochs:
        return f"Without training, the towers as their weights have them, on images of {size} x {size} pixels"
    length = "one epoch" if epochs == 1 else f"{epochs} epochs"
    return f"At equal budget, {length} in batches of {batch} images of {size} x {size} pixels"


def _cells(system: Entry) -> list[str]:
    figures = row(system)
    deviation = "" if figures["mae_std"] is None else f" ± {figures['mae_std']:.2f}"
    return [
        system.name + (" (own backbone)" if system.own_backbone else ""),
        str(figures["seeds"]),
        f"{figures['mae']:.2f}{deviation}",
        f"{_first(system):.2f}",
        f"{figures['cs5']:.1f}",
        f"{figures['coverage90']:.1f} %",
        f"{_width(system):.1f}",
        f"{figures['images_per_s']:,.0f}",
        f"{figures['parameters']:,}",
    ]


def _first(system: Entry) -> float:
    return float(system.mean(lambda record: record["figures"]["mae_before_correction"]))


def _accuracy(system: Entry) -> float:
    return 100 * float(system.mean(lambda record: record["figures"]["rank_accuracy"]))


def _width(system: Entry) -> float:
    return float(system.mean(lambda record: record["figures"]["interval_width"]))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], rest: str = "---:") -> str:
    """Columns after the first are aligned as `rest` says."""
    lines = [headings, ["---", *[rest] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
