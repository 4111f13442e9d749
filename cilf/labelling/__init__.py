"""Labelling a corpus on Ray. `label` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import CompactOptions, LabelOptions


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


def compact(options: CompactOptions) -> int:
    """Merge the small label files of every model in OUTPUT; one line per model on stdout.

    Raises:
        UsageError: there are no labels, or a run is writing them.
    """
    from cilf.labelling.compaction import run

    return run(options)
