"""The folder of a training run: its recipe, environment, metrics and bad rows."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import yaml
from matplotlib.figure import Figure

from cilf.errors import UsageError
from cilf.provenance import versions
from cilf.storage import Location, check_output, locate, problem, read, write
from cilf.training.recipe import Recipe

RECIPE_FILE, ENVIRONMENT_FILE, METRICS_FILE, BAD_ROWS_FILE = (
    "recipe.yaml",
    "environment.json",
    "metrics.jsonl",
    "bad_rows.csv",
)
BadRows = Sequence[Mapping[str, str]]
"""`id` and `reason` of each bad row."""

_MAY_CHANGE = {"workers", "checkpoint_steps", "keep_checkpoints", "max_failures", "summary", "licence"}
"""Fields of the recipe that may change when a run is resumed."""


def prepare(recipe: Recipe, output: Location) -> None:
    """Check that the folder can be written and holds no run of another recipe; write recipe and environment.

    Raises:
        UsageError: it cannot be written, or holds such a run or other files.
    """
    check_is_ours(output)
    check_recipe(recipe, output)
    check_output(output)
    environment = {**versions(), "machine": platform.machine(), "cuda": torch.version.cuda}
    write(output / ENVIRONMENT_FILE, (json.dumps(environment, indent=2) + "\n").encode())
    write(output / RECIPE_FILE, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode())


def check_is_ours(output: Location) -> None:
    """Check that the output folder holds nothing but a training run.

    Raises:
        UsageError: OUTPUT is a file, or a folder with contents that are not a training run.
    """
    try:
        if output.fs.isfile(output.path):
            raise UsageError(f"OUTPUT {output.url} is a file; name a folder for the run")
        paths = {entry["name"].rstrip("/") for entry in output.fs.ls(output.path, detail=True)}
    except FileNotFoundError:
        return
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read OUTPUT: {problem(error, output.url)}") from error
    there = {path.rpartition("/")[2] for path in paths - {output.path}}
    shown = sorted(name for name in there if not name.startswith("."))
    if shown and not there.issuperset((RECIPE_FILE, ENVIRONMENT_FILE)):
        raise UsageError(
            f"OUTPUT {output.url} holds something other than a training run ({', '.join(shown[:3])} ...): name a new "
            "folder, so that nothing there is overwritten"
        )


def check_recipe(recipe: Recipe, output: Location) -> None:
    """Check that the folder holds no run of another recipe.

    Raises:
        UsageError: it does.
    """
    noted, ours = read(output / RECIPE_FILE), recipe.model_dump(mode="json")
    if noted is None:
        return
    read_back = yaml.safe_load(noted)
    theirs = read_back if isinstance(read_back, dict) else {}
    other = sorted(k for k in ours if k not in _MAY_CHANGE and ours[k] != theirs.get(k))
    if other:
        raise UsageError(
            f"{output.url} holds a run of another recipe (different: {', '.join(other)}); name another folder, or "
            "delete this one to start again"
        )


def write_bad_rows(output: Location, sources: Iterable[tuple[BadRows, BadRows]]) -> int:
    """Write the rows that cannot be used, with reasons, to bad_rows.csv; return their number.

    Args:
        sources: bad rows of the `fit` and of the `choose` split of each source. A row of a tar whose split is unknown
            is in both, and counts once.
    """
    counts = [[Counter((row["id"], row["reason"]) for row in rows) for rows in pair] for pair in sources]
    rows = [row for fit, choose in counts for row in (fit | choose).elements()]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["id", "reason"])
    table.writerows(rows)
    write(output / BAD_ROWS_FILE, text.getvalue().encode())
    return len(rows)


class RunFolder:
    """The metrics of a run, written by its first worker: metrics.jsonl, TensorBoard events, curves.png.

    A line of metrics.jsonl is a step (`step`, `loss` and its parts) or an epoch (`epoch`, `mae`, for age groups
    `accuracy`, `images_per_s` …).
    """

    def __init__(self, url: str, step: int, unit: str) -> None:
        """Load the metrics of an earlier attempt up to `step`, and discard later ones.

        Args:
            url: URL of the run folder.
            step: optimiser step that the run resumes from, or 0.
            unit: unit of errors, years or ranks.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.output, self.unit = locate(url), unit
        self.lines: list[dict[str, Any]] = []
        source = self.output / METRICS_FILE
        if step and source.fs.exists(source.path):
            noted = source.fs.cat_file(source.path).decode().splitlines()
            self.lines = [line for line in map(json.loads, noted) if line["step"] <= step]
        local = self.output.scheme == "file"
        self.events = Path(self.output.path) / "tensorboard" if local else Path(tempfile.mkdtemp(prefix="cilf-events-"))
        self.board = SummaryWriter(str(self.events), purge_step=step)

    def log(self, line: dict[str, Any]) -> None:
        """Record a step or an epoch."""
        self.lines.append(line)
        kind = "epoch" if "epoch" in line else "step"
        for name, value in line.items():
            if name not in ("step", "epoch"):
                self.board.add_scalar(f"{kind}/{name}", value, line["step"])

    def publish(self) -> None:
        """Write all files to the output folder."""
        self.board.flush()
        write(self.output / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in self.lines).encode())
        write(self.output / "curves.png", curves(self.lines, self.unit))
        if self.output.scheme != "file":
            for file in self.events.iterdir():
                write(self.output / "tensorboard" / file.name, file.read_bytes())


def curves(lines: list[dict[str, Any]], unit: str) -> bytes:
    """Plot loss by step, and error and speed by epoch, as PNG."""
    steps = [line for line in lines if "loss" in line]
    epochs = [line for line in lines if "epoch" in line]
    with mpl.rc_context({"text.parse_math": False}):  # a rank's name may hold dollar signs
        return _drawn(steps, epochs, unit)


def _drawn(steps: list[dict[str, Any]], epochs: list[dict[str, Any]], unit: str) -> bytes:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot([row["step"] for row in steps], [row["loss"] for row in steps], color="0.8", lw=0.8, label="each step")
    smooth = _smoothed([row["loss"] for row in steps])
    left.plot([row["step"] for row in steps], smooth, color="tab:blue", label="running mean")
    left.set(title="Training loss", xlabel="step")
    at = [row["epoch"] for row in epochs]
    bands = dict.fromkeys(name for row in epochs for name in row if name.startswith("mae "))
    for name in bands:
        label = name.removeprefix("mae ") + (" years" if unit == "years" else "")
        middle.plot(at, [row.get(name, math.nan) for row in epochs], marker=".", lw=1, label=label)
    middle.plot(at, [row.get("mae", math.nan) for row in epochs], color="black", marker="o", label="all")
    if any("accuracy" in row for row in epochs):
        groups = middle.twinx()
        groups.plot(at, [row.get("accuracy", math.nan) for row in epochs], color="tab:purple", marker="s")
        groups.set(ylim=(0, 100))
        groups.set_ylabel("% of age groups correct", color="tab:purple")
    middle.set(title="Mean absolute error, rows of the choose split", xlabel="epoch", ylabel=unit, ylim=(0, None))
    right.plot(at, [row["images_per_s"] for row in epochs], color="tab:blue", marker="o", label="images/s")
    right.set(title="Speed", xlabel="epoch", ylabel="images/s", ylim=(0, None))
    waiting = right.twinx()
    waiting.plot(at, [100 * row["waiting_for_data"] for row in epochs], color="tab:orange", marker="s")
    waiting.set(ylim=(0, 100))
    waiting.set_ylabel("% of time waiting for rows", color="tab:orange")
    for axes in (left, middle):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def _smoothed(values: list[float], decay: float = 0.95) -> list[float]:
    result, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        result.append(mean / weight)
    return result
