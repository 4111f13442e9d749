"""How far a run is, while it runs: a bar on a terminal, elsewhere one line every 30 s."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from types import TracebackType

_EVERY_S = 30


class Progress:
    """Counts objects by status and shows them on stderr; a context manager."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: Counter[str] = Counter()
        self.started = time.monotonic()
        self._first = self.started
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def add(self, status: str, objects: int) -> None:
        """Some more objects have their row."""
        if not self.counts:
            self._first = time.monotonic()
        self.counts[status] += objects

    def line(self) -> str:
        """Objects done, images/s, failures by status and time left, in one line."""
        done = self.counts.total()
        parts = [f"{done:,} of {self.total:,} objects"]
        if done:
            # Time left from the pace since the first result, or Ray's start would count for every object.
            pace = done / max(time.monotonic() - self._first, self.seconds / 10)
            parts += [f"{done / self.seconds:.1f} images/s", f"{_clock((self.total - done) / pace)} left"]
        parts += [f"{number:,} {status}" for status, number in sorted(self.counts.items()) if status != "ok"]
        return ", ".join(parts)

    def _show(self) -> None:
        if not sys.stderr.isatty():
            while not self._stop.wait(_EVERY_S):
                print(self.line(), file=sys.stderr, flush=True)
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (BarColumn(), TextColumn("{task.description}"))
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("starting", total=self.total)
            while not self._stop.wait(0.25):
                bars.update(task, completed=self.counts.total(), description=self.line())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
