"""Published evaluation protocols, which assign rows to training and test. The entry point is `split`."""

from __future__ import annotations

from cilf.config import DataSplitOptions


def split(options: DataSplitOptions) -> int:
    """Write a file for each fold of a protocol, and show how many test rows show a person in the training data.

    Raises:
        UsageError: the table or the lists do not fit this protocol, or the output cannot be written.
    """
    from cilf.protocols import job

    return job.split(options)
