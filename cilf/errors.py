"""Failures that a user can act on; the command line turns each into one message and an exit code."""

from __future__ import annotations

INTERRUPTED = "interrupted"
"""How records say that Ctrl-C or SIGTERM ended something."""


class UsageError(Exception):
    """Wrong usage, or a plan that cannot work: found before any work is done. Exit code 2."""


class StoreError(UsageError):
    """A store failed, rather than what was asked of it. What is under way by then has failed as a job."""


class BusyError(UsageError):
    """Another run is doing this right now. Nothing is wrong: try again later. Exit code 75."""


class JobError(Exception):
    """A job that was rightly asked for and could not be finished. Exit code 1."""


class StageError(Exception):
    """A stage raised in its worker, for a reason that is no single object's. Its text is the traceback there."""


def in_words(error: BaseException) -> str:
    """An exception in a record that people read."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return f"{type(error).__name__}: {error}".removesuffix(": ")
