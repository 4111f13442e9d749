"""`cilf bench label`: speed of each stage alone on this machine, and of the whole pipeline."""

from __future__ import annotations

import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from cilf.bench import pipeline, stages
from cilf.bench.machine import this_machine
from cilf.bench.model import ModelAlone
from cilf.bench.objects import corpus
from cilf.bench.result import Objects, Result
from cilf.bench.tables import caution, grids, heading, labelled
from cilf.card import read_card
from cilf.config import BenchOptions
from cilf.storage import model_folder


def run(options: BenchOptions) -> int:
    """Measure on generated objects, print tables and write them as `label.json` and `label.md`.

    Raises:
        UsageError, ModelFolderError: the model does not exist.
        JobError: a run failed, or the runs are too small for a result.
    """
    measured = _measured(options)
    _tell(measured, Path(options.output), _name(options))
    return 0


def _measured(options: BenchOptions) -> Result:
    images = read_card(model_folder(options.model)).model.images
    many = options.images or (800 if options.objects == "photographs" else 4000)  # photographs take much longer
    objects = Objects(
        options.objects,
        few=many // 8,
        many=many,
        latency_ms=options.latency_ms if options.objects == "s3" else None,
    )
    result = Result(this_machine(), objects, options.model, options.price)
    asked = (options.stage_only,) if options.stage_only else ("fetch", "decode", "faces", "model", "pipeline")
    with ExitStack() as context:
        status = context.enter_context(Console(stderr=True).status("making objects"))
        folder = Path(context.enter_context(tempfile.TemporaryDirectory(prefix="cilf-bench-")))
        made = context.enter_context(
            corpus(options.objects, folder / "objects", objects.few, objects.many, options.latency_ms)
        )
        objects.mean_bytes = statistics.mean(path.stat().st_size for path in made.sample())
        model = ModelAlone(made, options.model) if "model" in asked else None
        # Alternate between the stages, because the machine's speed drifts by more than the differences.
        for number in range(options.repeats):
            status.update(f"round {number + 1} of {options.repeats}")
            if "fetch" in asked:
                result.fetch.append(stages.fetch_alone(made))
            if "decode" in asked:
                result.decode.append(stages.decode_alone(made, images.size))
            if "faces" in asked and made.faces == "detect":
                result.faces.append(stages.faces_alone(made, images))
            if model:
                result.model.append(model.measure())
            if "pipeline" in asked:
                how = (options.model, made.faces, made.environment)
                result.few.append(pipeline.label(made.few, made.few_count, *how))
                result.many.append(pipeline.label(made.many, made.many_count, *how))
        if model and made.faces == "none":  # the other kinds have only a handful of distinct images
            status.update("correction")
            result.correction = model.correction(options.repeats)
    return result


def _name(options: BenchOptions) -> str:
    """Name of the files, different for each kind of measurement so that none overwrites another."""
    kind = () if options.objects == "crops" else (options.objects,)
    stage = () if options.stage_only is None else (options.stage_only,)
    return "-".join(("label", *kind, *stage))


def _tell(result: Result, output: Path, name: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    tables = grids(result)
    lines = [heading(result.machine), labelled(result), *filter(None, [caution(result.machine)])]
    (output / f"{name}.json").write_text(json.dumps(result.record(), indent=2) + "\n", encoding="utf-8")
    page = "\n".join(["# cilf bench label", "", *(f"{line}  " for line in lines), "", *(t.markdown() for t in tables)])
    (output / f"{name}.md").write_text(page, encoding="utf-8")
    console = Console(highlight=False)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    for table in tables:
        console.print()
        console.print(table.shown())
    console.print(f"\ndetails in {output / name}.json, .md", markup=False, soft_wrap=True)
