"""`cilf bench label`: what each stage reaches alone on this machine, and what the whole pipeline makes of it."""

from __future__ import annotations

import json
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cilf.bench import pipeline, stages
from cilf.bench.machine import this_machine
from cilf.bench.model import model_alone
from cilf.bench.objects import Corpus, corpus
from cilf.bench.result import Objects, Result
from cilf.bench.tables import caution, grids, heading, labelled
from cilf.card import read_card
from cilf.config import BenchOptions
from cilf.storage import model_folder


def run(options: BenchOptions) -> int:
    """Measure on objects made for it, print tables and write them as `label.json` and `label.md`.

    Raises:
        UsageError, ModelFolderError: there is no such model.
        JobError: a run failed, or the runs are too small to tell.
    """
    measured = _measured(options)
    _tell(measured, Path(options.output), _name(options))
    return 0


def _measured(options: BenchOptions) -> Result:
    size = read_card(model_folder(options.model)).model.images.size
    latency_ms = options.latency_ms if options.objects == "s3" else None
    objects = Objects(options.objects, options.images // 8, options.images, 0.0, latency_ms)
    result = Result(this_machine(), objects, options.model, options.repeats, options.price)
    with ExitStack() as context:
        status = context.enter_context(Console(stderr=True).status("making objects"))
        folder = Path(context.enter_context(tempfile.TemporaryDirectory(prefix="cilf-bench-")))
        made = context.enter_context(
            corpus(options.objects, folder / "objects", objects.few, objects.many, options.latency_ms)
        )
        mean_bytes = statistics.mean(path.stat().st_size for path in made.sample())
        result = replace(result, objects=replace(objects, mean_bytes=mean_bytes))
        for stage in ("fetch", "decode", "model") if options.stage_only is None else (options.stage_only,):
            status.update(f"{stage} alone")
            result = _with_stage(result, stage, made, size)
        if options.stage_only is None:
            status.update("the whole pipeline")
            result = replace(result, pipeline=pipeline.measure(made, options.model, options.repeats))
    return result


def _with_stage(result: Result, stage: str, made: Corpus, size: int) -> Result:
    if stage == "fetch":
        return replace(result, fetch_images_per_s=stages.fetch_alone(made, result.repeats))
    if stage == "decode":
        return replace(result, decode_images_per_s=stages.decode_alone(made, size, result.repeats))
    return replace(result, model=model_alone(made, result.model_name, result.repeats))


def _name(options: BenchOptions) -> str:
    """Of the files, so that one measurement does not take the place of another."""
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
