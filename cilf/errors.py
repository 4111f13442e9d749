"""Failures that a user can act on; the command line turns each into one message and an exit code."""

from __future__ import annotations

INTERRUPTED = "interrupted"
"""The text in records for what Ctrl-C or SIGTERM has ended."""


class UsageError(Exception):
    """Wrong usage, or a plan that cannot work: found before any work is done. Exit code 2."""


class StoreError(UsageError):
    """A store failed, while the request was right. If a job is under way by then, it has failed (see JobError)."""


class BusyError(UsageError):
    """Another run is doing this right now. Nothing is wrong: try again later. Exit code 75."""


class PhotographError(Exception):
    """One photograph, which was given on its own, cannot be read.

    Attributes:
        status: as in the labels: unreadable, too_large, missing or unavailable.
        reason: why, in one line.
    """

    def __init__(self, name: str, status: str, reason: str) -> None:
        super().__init__(f"{name} is {status.replace('_', ' ')}: {reason}")
        self.status = status
        self.reason = reason


class JobError(Exception):
    """A job with a valid plan could not be finished. Exit code 1."""


class StageError(Exception):
    """A stage raised in its worker, for a reason that no single object causes. The text is the worker's traceback."""


def in_words(error: BaseException) -> str:
    """The text of an exception for records that people read."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return f"{type(error).__name__}: {error}".removesuffix(": ")
