"""Runs of the whole `cilf label` in a separate process, with their resource usage."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cilf.bench.gpu import busy
from cilf.bench.processes import Usage, sampled
from cilf.errors import JobError


@dataclass(frozen=True)
class Run:
    """One run of `cilf label`."""

    seconds: float
    """Wall time from command to exit."""
    seconds_to_first_row: float
    stage_seconds: Mapping[str, float]
    """Process seconds in fetch (mostly waiting), decode and model."""
    usage: Mapping[str, Usage]
    """Resource usage by kind of process."""
    gpu_busy: float | None
    """Mean GPU utilisation from the first row on, 0..1; None without a GPU."""


def label(objects: str, count: int, model: str, faces: str, environment: Mapping[str, str]) -> Run:
    """Label into a temporary folder.

    Args:
        objects: folder or URL.
        count: number of objects.
        model: name, path or URL.
        faces: value of `--faces`.
        environment: variables in addition to those of this process.

    Raises:
        JobError: the run failed, or the status of some object is not `ok`.
    """
    # RAY_ADDRESS would run the job on the user's cluster instead of the measured machine.
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | dict(environment)
    with tempfile.TemporaryDirectory(prefix="cilf-bench-") as output, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "cilf.cli", "label", objects, output, "--model", model, "--faces", faces]
        start = time.perf_counter()
        with subprocess.Popen(
            command,
            env=variables,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # so that Ctrl-C does not reach it twice
        ) as process:
            try:
                with sampled(process.pid) as sampler, busy() as shares:
                    code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
            seconds = time.perf_counter() - start
        if code:
            errors.seek(0)
            raise JobError(f"cilf label failed: {(errors.read().strip().splitlines() or ['no error message'])[-1]}")
        (file,) = (Path(output) / "runs").glob("*.json")
        summary = json.loads(file.read_text(encoding="utf-8"))
    if summary["counts"] != {"ok": count}:
        raise JobError(f"expected status ok for all {count} objects, but cilf label wrote {summary['counts']}")
    working = shares[int(len(shares) * min(1, summary["seconds_to_first_row"] / seconds)) :]
    return Run(
        seconds=seconds,
        seconds_to_first_row=summary["seconds_to_first_row"],
        stage_seconds=summary["stage_seconds"],
        usage=sampler.usage(),
        gpu_busy=statistics.mean(working) if working else None,
    )
