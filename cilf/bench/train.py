"""`cilf bench train`: speed of `cilf train` on this machine, and of a plain loop over the same rows in memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from cilf.bench.machine import Machine, this_machine
from cilf.bench.objects import crops
from cilf.bench.plain_loop import plain_loop
from cilf.bench.tables import Grid, caution, heading
from cilf.config import BenchOptions
from cilf.cores import cores
from cilf.errors import JobError
from cilf.training.examine import examine
from cilf.training.recipe import read_recipe

_CHOSEN = 64
"""Number of rows in the split to choose by, of which training needs at least one."""


@dataclass
class Speeds:
    """Result of one bench. Every list has one measurement per round."""

    machine: Machine
    model: str
    rows: int
    """Number of training rows; each is used once."""
    workers: int
    plain: list[float] = field(default_factory=list)
    """Images per second of the plain loop."""
    train: list[float] = field(default_factory=list)
    """Images per second of `cilf train`, from the first row on."""
    waiting: list[float] = field(default_factory=list)
    """Share of that time during which a worker waits for rows."""

    @property
    def shares(self) -> list[float]:
        """Speed of `cilf train` as a share of the plain loop's, by round, so that drift between rounds cancels."""
        return [train / plain for train, plain in zip(self.train, self.plain, strict=True)]

    def record(self) -> dict[str, Any]:
        """Contents of train.json, in JSON types only."""
        return {**asdict(self), "share": statistics.median(self.shares)}

    def grid(self) -> Grid:
        """The table of the results."""
        low, high = min(self.shares), max(self.shares)
        waits = f"{statistics.median(self.waiting):.0%} of the time for rows"
        return Grid(
            "Training",
            ("", "images/s", ""),
            [
                ("a plain loop", f"{statistics.median(self.plain):.1f}", f"{self.workers} processes, rows in memory"),
                ("cilf train", f"{statistics.median(self.train):.1f}", f"{self.workers} workers, which wait {waits}"),
                (
                    "share of the plain loop",
                    f"{statistics.median(self.shares):.2f}",
                    f"{low:.2f} to {high:.2f}",
                ),
            ],
        )


def run(options: BenchOptions) -> int:
    """Fine-tune the model on generated crops, print the table and write it as `train.json` and `train.md`.

    Raises:
        UsageError, ModelFolderError: the model does not exist.
        JobError: a run failed.
    """
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cilf-bench-") as scratch:
        speeds = _measured(options, Path(scratch))
    (output / "train.json").write_text(json.dumps(speeds.record(), indent=2) + "\n", encoding="utf-8")
    lines = [heading(speeds.machine), *filter(None, [caution(speeds.machine)])]
    page = ["# cilf bench train", "", *(f"{line}  " for line in lines), "", speeds.grid().markdown()]
    (output / "train.md").write_text("\n".join(page), encoding="utf-8")
    console = Console(highlight=False)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.print(speeds.grid().shown())
    console.print(f"\ndetails in {output / 'train'}.json, .md", markup=False, soft_wrap=True)
    return 0


def _measured(options: BenchOptions, scratch: Path) -> Speeds:
    table = _labelled(options.images or 4000)
    pq.write_table(table, scratch / "faces.parquet")
    file = scratch / "recipe.yaml"
    data = {"path": str(scratch / "faces.parquet")}
    file.write_text(yaml.safe_dump({"start": options.model, "data": data, "epochs": 1, "workers": cores()}))
    recipe = read_recipe(file)
    rows = examine(table.slice(_CHOSEN), recipe.model).drop_columns(["reason"])
    speeds = Speeds(this_machine(), options.model, len(rows), recipe.most_workers)
    with Console(stderr=True).status("measuring") as status:
        for number in range(options.repeats):  # alternately, because the machine's speed drifts
            status.update(f"round {number + 1} of {options.repeats}")
            speeds.plain.append(plain_loop(recipe, rows))
            epoch = trained(file, scratch / f"run-{number}")
            speeds.train.append(epoch["images_per_s"])
            speeds.waiting.append(epoch["waiting_for_data"])
    return speeds


def _labelled(count: int) -> pa.Table:
    """Crops with ages; the first _CHOSEN are the split to choose by."""
    split = ["val" if number < _CHOSEN else "train" for number in range(count)]
    images = [encoded for _, encoded in crops(count)]
    ages = [float(number % 80) for number in range(count)]
    return pa.table({"id": [f"{number}" for number in range(count)], "age": ages, "split": split, "image": images})


def trained(recipe: Path, output: Path) -> dict[str, Any]:
    """Run `cilf train` in a separate process with its own Ray; returns its metrics of the one epoch.

    Raises:
        JobError: the run failed.
    """
    command = [sys.executable, "-m", "cilf.cli", "train", str(recipe), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise JobError(f"cilf train failed: {(done.stderr.strip().splitlines() or ['no error message'])[-1]}")
    lines = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return next(line for line in lines if "epoch" in line)
