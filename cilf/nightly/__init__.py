"""A corpus kept labelled, night by night. `nightly` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import NightlyOptions


def nightly(options: NightlyOptions) -> int:
    """List, label what is new, compact, report and tidy up, as CONFIG says. Of a night that is done, do
    nothing, or with `again` begin another one of its date.

    Returns:
        0: the night is done. 3: it is done, its ages have drifted, and CONFIG says fail_on_drift.

    Raises:
        UsageError: CONFIG cannot be used; nothing has been done.
        BusyError: another process is at this OUTPUT.
        JobError: a step failed; what is done stays, and the same call goes on with that step.
    """
    from cilf.nightly.job import run

    return run(options)
