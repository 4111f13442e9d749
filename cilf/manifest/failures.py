"""Failures of a store in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cilf.errors import UsageError
from cilf.storage import Location, problem


@contextmanager
def told(what: str, place: Location) -> Iterator[None]:
    """Turn whatever goes wrong at `place` into a UsageError that begins with `what` could not be done."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: {problem(error, place.url)}") from error
