"""Lists of the objects to label, and of those still to be labelled. `list_objects`, the entry point of `cilf list`,
imports its job only when it is called."""

from __future__ import annotations

from cilf.config import ListOptions


def list_objects(options: ListOptions) -> int:
    """List every object under the INPUTs into the folder MANIFEST, and print how many there are on stdout.

    Returns:
        0: MANIFEST holds the complete listing.

    Raises:
        UsageError: the plan is wrong, and nothing has been listed or changed.
        JobError: the listing failed; the previous one stays, and the same call resumes from there.
    """
    from cilf.manifest.job import run

    return run(options)
