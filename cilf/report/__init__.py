"""The morning report on the labels. `report` is the entry point; it imports what it needs only when it is called."""

from __future__ import annotations

from cilf.config import ReportOptions


def report(options: ReportOptions) -> int:
    """Write OUTPUT/report.html and the review queue, OUTPUT/review.csv and .parquet.

    With `corrections`, convert the ages that reviewers have filled in to training rows instead.

    Raises:
        UsageError: there are no labels, they lack a column of `slice`, or the corrections cannot be used.
        JobError: the labels changed while they were read, or could not be read.
    """
    from cilf.report import job

    return job.run(options)
