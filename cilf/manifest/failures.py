"""Messages to users on stderr, and messages for failures of a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from cilf.errors import JobError, StoreError, UsageError
from cilf.storage import Location, problem


def tell(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def told(what: str, place: Location) -> Iterator[None]:
    """Turn any failure at `place` into a UsageError whose message begins with `what`, which says what could not be
    done: a StoreError, unless Arrow could not read the contents."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        kind = UsageError if isinstance(error, pa.ArrowException) else StoreError
        raise kind(f"{what}: {problem(error, place.url)}") from error


@contextmanager
def under_way(what: str) -> Iterator[None]:
    """Turn a StoreError into a JobError: in a job whose plan has been checked, a store that fails now fails the job."""
    try:
        yield
    except StoreError as error:
        raise JobError(f"{what} failed: {error} (nothing was labelled)") from error
