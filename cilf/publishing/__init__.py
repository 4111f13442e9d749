"""Publishing of finished labels as a table in an open table format. `publish` is the entry point; it imports what it
needs only when it is called."""

from __future__ import annotations

from cilf.config import PublishOptions
from cilf.extras import check_installed


def publish(options: PublishOptions) -> int:
    """Make an Iceberg or Delta table equal the labels in OUTPUT, in one commit, and print the changes to stdout.

    Raises:
        UsageError: there are no labels, a run is writing them, or the catalog or the table cannot be used.
        JobError: publishing failed; the message says whether anything was committed. The same call can be repeated.
    """
    check_installed("cilf publish", "publish", {"iceberg": "pyiceberg", "delta": "deltalake"}[options.format])
    from cilf.publishing import job

    return job.run(options)
