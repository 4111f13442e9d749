"""What users are told on stderr, and failures of a store in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from cilf.errors import JobError, StoreError, UsageError
from cilf.storage import Location, problem


def tell(line: str) -> None:
    """Say something on stderr."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def told(what: str, place: Location) -> Iterator[None]:
    """Turn whatever goes wrong at `place` into a UsageError that begins with `what` could not be done: a StoreError,
    unless Arrow could not make sense of what stands there."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        kind = UsageError if isinstance(error, pa.ArrowException) else StoreError
        raise kind(f"{what}: {problem(error, place.url)}") from error


@contextmanager
def under_way(what: str) -> Iterator[None]:
    """Of a job whose plan was found good: a store that fails now fails the job."""
    try:
        yield
    except StoreError as error:
        raise JobError(f"{what} failed: {error} (nothing was labelled)") from error
