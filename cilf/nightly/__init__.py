"""Nightly labelling of a corpus. `nightly` is the entry point; it imports what it needs only when it is called."""

from __future__ import annotations

from cilf.config import NightlyOptions


def nightly(options: NightlyOptions) -> int:
    """List, label what is new, compact, report and tidy up, as CONFIG says. If the night is already done, do nothing,
    or with `again` start another one with the same date.

    Returns:
        0: the night is done. 3: it is done, its ages have drifted, and CONFIG says fail_on_drift.

    Raises:
        UsageError: CONFIG cannot be used; nothing has been done.
        BusyError: another process holds the lease on this OUTPUT.
        JobError: a step failed; completed work stays, and the same call resumes with that step.
    """
    from cilf.nightly.job import run

    return run(options)
