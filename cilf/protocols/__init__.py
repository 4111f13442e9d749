"""Evaluation protocols of the field: which rows are learned from and which tested on. `split` is the way in."""

from __future__ import annotations

from cilf.config import DataSplitOptions


def split(options: DataSplitOptions) -> int:
    """Write a file for each fold of a protocol, and show how many tested rows show a person who is learned from.

    Raises:
        UsageError: the table or the lists are not of this protocol, or nothing can be written.
    """
    from cilf.protocols import job

    return job.split(options)
