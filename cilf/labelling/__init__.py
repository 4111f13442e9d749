"""Labelling a corpus on Ray. `label` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import LabelOptions


def label(options: LabelOptions) -> int:
    """Label every object under INPUT that has no label of this model yet, and say on stdout what came of it.

    Returns:
        0: every object has its row.

    Raises:
        UsageError, ModelFolderError: found before any work was done; nothing has been labelled.
        JobError: the job failed; what has been labelled stays, and the same call goes on from there.
    """
    from cilf.labelling.job import run

    return run(options)
