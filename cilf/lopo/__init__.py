"""Leave one person out with heads on a model's frozen features. `lopo` is the way in."""

from __future__ import annotations

from cilf.config import LopoOptions


def lopo(options: LopoOptions) -> int:
    """Fit the heads of several systems once for each person, on everybody else, and measure them on that person.

    Raises:
        UsageError, ModelFolderError: the model, the data or the output cannot be used.
        JobError: a fit has failed.
    """
    from cilf.lopo import job

    return job.run(options)
