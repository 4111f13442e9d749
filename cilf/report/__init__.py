"""The morning page over the labels. `report` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import ReportOptions


def report(options: ReportOptions) -> int:
    """Write OUTPUT/report.html and the review queue, OUTPUT/review.csv and .parquet.

    With `corrections`, turn the ages that a reviewer has filled in into training rows instead.

    Raises:
        UsageError: there are no labels, they have no such column, or the corrections cannot be used.
        JobError: the labels changed while they were read, or could not be read.
    """
    from cilf.report import job

    return job.run(options)
