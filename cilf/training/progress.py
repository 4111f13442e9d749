"""Progress lines of a running job, sent from the training worker to the terminal that waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

_EVERY_S = 30.0
_LOOK_S = 0.5
Result = TypeVar("Result")


class Board:
    """An actor that stores the first worker's progress lines. It is a separate actor, because that worker may die."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def say(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)

    def since(self, count: int) -> list[str]:
        """All but the first `count` lines."""
        return self._lines[count:]


class Teller:
    """Reports the first worker's progress; rates and time left are measured since its start.

    Args:
        say: called with each line.
        step: optimiser step that the worker resumes from.
        steps: steps per epoch.
        epochs: total number of epochs.
        unit: unit of errors, years or ranks.
    """

    def __init__(self, say: Callable[[str], Any], step: int, steps: int, epochs: int, unit: str) -> None:
        self._say, self._first, self._steps, self._epochs, self._unit = say, step, steps, epochs, unit
        self._began = self._said = time.monotonic()
        if step:
            say(f"resuming from step {step} of {steps * epochs}")

    def step(self, step: int, loss: float, faces_per_s: float) -> None:
        """Report a step within an epoch, at most every 30 s."""
        if time.monotonic() - self._said >= _EVERY_S:
            done, within = divmod(step, self._steps)
            self._tell(f"epoch {done + 1} of {self._epochs}, step {within} of {self._steps}", step, loss, faces_per_s)

    def epoch(self, step: int, loss: float, faces_per_s: float, figures: Mapping[str, float]) -> None:
        """Report the end of an epoch; `figures` as from cilf.training.choosing."""
        where = f"epoch {step // self._steps} of {self._epochs}"
        said = f", MAE {figures['mae']:.2f} {self._unit}" if "mae" in figures else ""
        said += f", {figures['accuracy']:.1f} % of groups correct" if "accuracy" in figures else ""
        self._tell(where, step, loss, faces_per_s, said)

    def _tell(self, where: str, step: int, loss: float, faces_per_s: float, error: str = "") -> None:
        self._said = time.monotonic()
        left = (self._steps * self._epochs - step) * (self._said - self._began) / max(1, step - self._first)
        rest = f", about {timedelta(seconds=round(left))} left" if left else ""
        self._say(f"{where}: loss {loss:.3f}{error}, {faces_per_s:,.0f} faces/s{rest}")


def watched(call: Callable[[], Result], board: Any) -> Result:
    """Run `call` in a thread, log the board's new lines meanwhile, and return or raise what `call` does.

    In the main thread Ray Train would handle SIGINT itself, and end this process with exit code 1 and no message.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = call()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run, name="training", daemon=True)
    thread.start()
    shown = 0
    while thread.is_alive():
        thread.join(_LOOK_S)
        shown += _show(board, shown)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _show(board: Any, shown: int) -> int:
    """Log new lines and return their number. A board that died with its node must not end the run."""
    import ray

    lines: list[str] = []
    with suppress(ray.exceptions.RayError):
        lines = ray.get(board.since.remote(shown), timeout=5)
    for line in lines:
        logger.info(line)
    return len(lines)
