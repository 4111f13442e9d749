"""The progress of a run while it runs: a bar on a terminal, otherwise one line every 30 s."""

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

from cilf.words import counted

_EVERY_S = 30

_LEAST_SPAN_S = 1.0
"""Blocks that finish closer together than this were processed in parallel, and give no pace."""


class Progress:
    """Sums up what is committed and shows it on stderr; a context manager."""

    def __init__(self) -> None:
        self.total = 0
        self.doing = "starting"
        """The activity that is shown until the first rows come, such as "starting Ray"."""
        self.warnings: list[str] = []
        """Warnings given to the user."""
        self.counts: Counter[str] = Counter()
        """Objects by status."""
        self.bytes = 0
        """Stored size of these objects."""
        self.stage_seconds: Counter[str] = Counter()
        """Process seconds spent on them by stage: fetch (most of it is waiting), decode, model."""
        self.batch_size = 0
        """Crops per model call."""
        self.blocks = 0
        """Committed blocks."""
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
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def seconds_to_first(self) -> float:
        """Seconds from the start to the first row; to now while there is none."""
        return (self._first[0] if self._first else time.monotonic()) - self.started

    @property
    def pace(self) -> float | None:
        """Objects per second of steady work, from the first block to the last; None while there is too little of it."""
        if self._first is None or self._last - self._first[0] < _LEAST_SPAN_S:
            return None
        # Long after the last block, the time spent waiting for the next one counts as well.
        waited = max(0.0, time.monotonic() - self._last - _EVERY_S) if self.counts.total() < self.total else 0.0
        return (self.counts.total() - self._first[1]) / (self._last + waited - self._first[0])

    def add(self, block: Iterable[Mapping[str, Any]]) -> None:
        """Add the sums of a committed block: rows of schema.COUNTS, one for each status."""
        for row in block:
            self.counts[row["status"]] += row["objects"]
            self.bytes += row["bytes"] or 0
            for stage in ("fetch", "decode", "model"):
                self.stage_seconds[stage] += row[f"{stage}_s"] or 0
            self.batch_size = max(self.batch_size, row["batch_size"] or 0)
        self.blocks += 1
        self._last = time.monotonic()
        if self._first is None:
            self._first = (self._last, self.counts.total())

    def say(self, line: str) -> None:
        """Print a line for the user."""
        self._console.print(line, markup=False)

    def warn(self, line: str) -> None:
        """Print a warning for the user; it goes into the run's record as well."""
        self.warnings.append(line)
        self.say(f"warning: {line}")

    def line(self) -> str:
        """Objects done, images/s, time left and failures by status in one line; before there are any, the activity."""
        done = self.counts.total()
        parts = [f"{done:,} of {counted(self.total, 'object')}"] if self.total else []
        if not done:
            parts.append(self.doing)
        if pace := self.pace:
            parts += [f"{pace:,.1f} images/s", f"{clock((self.total - done) / pace)} left"]
        parts += [f"{number:,} {status}" for status, number in sorted(self.counts.items()) if status != "ok"]
        return ", ".join(parts)

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(_EVERY_S):
                print(self.line(), file=sys.stderr, flush=True)
            return
        columns = (BarColumn(), TextColumn("{task.description}"))
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(self.line(), total=self.total or None)
            while not self._stop.wait(0.25):
                bars.update(task, total=self.total or None, completed=self.counts.total(), description=self.line())


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
