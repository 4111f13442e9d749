"""A corpus on disk, and `cilf label` on it in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from label_run import Run

SCRIPT = Path(__file__).with_name("stand_in_label.py")


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Start `cilf label INPUT OUTPUT …` with the stand-in model; processes left over are ended with the test."""
    runs: list[Run] = []

    def run(source: Path, output: Path, *options: str, slow_ms: int = 0) -> Run:
        environment = {**os.environ, "SLOW": str(slow_ms)}
        environment.pop("RAY_ADDRESS", None)
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(source), str(output), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        runs.append(Run(process, output))
        return runs[-1]

    yield run
    for made in runs:
        if made.process.poll() is None:
            for pid in [made.process.pid, *made.below()]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            made.process.wait()


@pytest.fixture
def corpus(tmp_path: Path, photograph: Callable[..., bytes]) -> Callable[..., Path]:
    """Make a folder of `count` photographs, and of further objects with these names."""

    def make(count: int, *names: str) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir()
        data = photograph(1)
        for name in [f"{number:05d}.jpg" for number in range(count)] + list(names):
            (folder / name).write_bytes(data)
        return folder

    return make
