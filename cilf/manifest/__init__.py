"""What there is to label, and what is left of it. `list_objects` is a way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import ListOptions


def list_objects(options: ListOptions) -> int:
    """List every object under the INPUTs into the folder MANIFEST, and say on stdout how many there are.

    Returns:
        0: MANIFEST holds the complete listing.

    Raises:
        UsageError: found before anything was listed; nothing has changed.
        JobError: the listing failed; the one of before stays, and the same call goes on from there.
    """
    from cilf.manifest.job import run

    return run(options)
