"""How busy the GPUs are, as the driver's own tool tells."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY_MS = 500


@contextmanager
def busy() -> Iterator[list[float]]:
    """A list that is filled when the context ends: how busy each GPU was each half second, 0..1, in order of time.

    It stays empty where there is no GPU, or no nvidia-smi to ask.
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
        # "[N/A]" where a GPU does not tell; words where there is a tool and no GPU.
        shares += [int(line) / 100 for line in lines.read().splitlines() if line.strip().isdigit()]
