"""Label files that are none: what else ends in .parquet where the labels are, or was damaged there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from cilf.errors import JobError
from cilf.storage import Location


@contextmanager
def reading(file: Location) -> Iterator[None]:
    """Read a Parquet file in here.

    Raises:
        JobError: Arrow cannot make sense of it.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise  # What a store or the system says has a kind or a number. Arrow's own words about pages have neither.
        raise _damaged(file, error) from error


def _damaged(file: Location, error: Exception) -> JobError:
    text = " ".join(str(error).split())
    return JobError(f"{file.url} is no Parquet file, or a damaged one ({text}): remove it or restore it")
