"""Detection of label files that are damaged, and of other files named .parquet among the labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from cilf.errors import JobError
from cilf.storage import Location


@contextmanager
def reading(file: Location) -> Iterator[None]:
    """A context in which a Parquet file is read.

    Raises:
        JobError: Arrow cannot parse the file.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise  # Errors of a store or the system have a class or a number. Arrow's errors about pages have neither.
        raise _damaged(file, error) from error


def _damaged(file: Location, error: Exception) -> JobError:
    text = " ".join(str(error).split())
    return JobError(f"{file.url} is damaged, or not a Parquet file ({text}): remove it or restore it")
