"""Finished labels -> a table of an open table format. `publish` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import PublishOptions
from cilf.extras import check_installed


def publish(options: PublishOptions) -> int:
    """Make an Iceberg or Delta table equal the labels in OUTPUT, in one commit, and say on stdout what it changed.

    Raises:
        UsageError: there are no labels, a run is writing them, or the catalog or the table cannot be used.
        JobError: it failed, and says whether anything was committed; the same call may be made again.
    """
    check_installed("cilf publish", "publish", {"iceberg": "pyiceberg", "delta": "deltalake"}[options.format])
    from cilf.publishing import job

    return job.run(options)
