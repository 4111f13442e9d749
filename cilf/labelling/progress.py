"""How far a run is, while it runs: a bar on a terminal, elsewhere one line every 30 s."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

_EVERY_S = 30


class Progress:
    """Sums up what is committed and shows it on stderr; a context manager."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: Counter[str] = Counter()
        """Objects by status."""
        self.bytes = 0
        """Of these objects as stored."""
        self.stage_seconds: Counter[str] = Counter()
        """Process seconds spent on them by stage: fetch (most of it is waiting), decode, model."""
        self.batch_size = 0
        """Crops that go through the model at once."""
        self.started = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._last = self.started
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)

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

    @property
    def seconds_to_first(self) -> float:
        """From the start to the first row that came; to now while there is none."""
        return (self._first[0] if self._first else time.monotonic()) - self.started

    @property
    def pace(self) -> float | None:
        """Objects per second between the first block and the last; None before there are two."""
        if self._first is None or self._last == self._first[0]:
            return None
        return (self.counts.total() - self._first[1]) / (self._last - self._first[0])

    def add(self, block: Iterable[Mapping[str, Any]]) -> None:
        """The objects of a block have their rows: rows of schema.COUNTS, one for each status."""
        for row in block:
            self.counts[row["status"]] += row["objects"]
            self.bytes += row["bytes"] or 0
            for stage in ("fetch", "decode", "model"):
                self.stage_seconds[stage] += row[f"{stage}_s"] or 0
            self.batch_size = max(self.batch_size, row["batch_size"] or 0)
        self._last = time.monotonic()
        if self._first is None:
            self._first = (self._last, self.counts.total())

    def say(self, line: str) -> None:
        """Tell the user what happened on the way."""
        self._console.print(line, markup=False)

    def line(self) -> str:
        """Objects done, images/s, failures by status and time left, in one line."""
        done = self.counts.total()
        parts = [f"{done:,} of {self.total:,} objects"]
        if done:
            # Time left from the pace since the first result, or Ray's start would count for every object.
            pace = done / max(self.seconds - self.seconds_to_first, self.seconds / 10)
            parts += [f"{done / self.seconds:.1f} images/s", f"{clock((self.total - done) / pace)} left"]
        parts += [f"{number:,} {status}" for status, number in sorted(self.counts.items()) if status != "ok"]
        return ", ".join(parts)

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(_EVERY_S):
                print(self.line(), file=sys.stderr, flush=True)
            return
        columns = (BarColumn(), TextColumn("{task.description}"))
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task("starting", total=self.total)
            while not self._stop.wait(0.25):
                bars.update(task, total=self.total, completed=self.counts.total(), description=self.line())


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
