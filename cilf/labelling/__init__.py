"""Labelling a corpus on Ray. `label` is the entry point; it imports what it needs only when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilf.config import CompactOptions, LabelOptions

if TYPE_CHECKING:
    from cilf.labelling.summary import LabelSummary


def label(options: LabelOptions) -> int:
    """Label every object under INPUT that has no label of this model yet, and print a summary to stdout.

    Returns:
        0: every object has a label row.

    Raises:
        UsageError, ModelFolderError, JobError: see run_label.
    """
    print(run_label(options))
    return 0


def run_label(options: LabelOptions) -> LabelSummary:
    """Label every object under INPUT that has no label of this model yet.

    Raises:
        UsageError, ModelFolderError: raised before any work is done; nothing has been labelled.
        JobError: the job failed; the labels written so far stay, and the same call resumes from there.
    """
    from cilf.labelling.job import run

    return run(options)


def compact(options: CompactOptions) -> int:
    """Merge the small label files of every model in OUTPUT, and print one line per model to stdout.

    Raises:
        UsageError: there are no labels, or a run is writing them.
    """
    from cilf.labelling.compaction import run

    return run(options)
