"""Leave-one-person-out evaluation with heads on a model's frozen features. The entry point is `lopo`."""

from __future__ import annotations

from cilf.config import LopoOptions


def lopo(options: LopoOptions) -> int:
    """Fit the heads of several systems for each person, on all other people, and measure them on that person.

    Raises:
        UsageError, ModelFolderError: the model, the data or the output cannot be used.
        JobError: a fit has failed.
    """
    from cilf.lopo import job

    return job.run(options)
