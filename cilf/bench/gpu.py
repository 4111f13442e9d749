"""Utilisation of the GPUs, as reported by nvidia-smi."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY_MS = 500


@contextmanager
def busy() -> Iterator[list[float]]:
    """Yields a list that is filled when the context ends: each GPU's utilisation every half second, 0..1, by time.

    It stays empty if there is no GPU or no nvidia-smi.
    """
    shares: list[float] = []
    if shutil.which("nvidia-smi") is None:
        yield shares
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}"]
    with tempfile.TemporaryFile("w+") as lines:
        with subprocess.Popen(command, stdout=lines, stderr=subprocess.DEVNULL) as tool:
            try:
                yield shares
            finally:
                tool.terminate()
        lines.seek(0)
        # nvidia-smi prints "[N/A]" for a GPU without this figure, and a message if there is no GPU.
        shares += [int(line) / 100 for line in lines.read().splitlines() if line.strip().isdigit()]
