"""Measuring a model. `evaluate` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import EvaluateOptions
from cilf.errors import UsageError
from cilf.extras import check_training


def evaluate(options: EvaluateOptions) -> int:
    """Estimate the ages of labelled faces, show how good the estimates are, and write tables, figures and rows.

    With `faces`, find the faces of photographs instead; with `suite`, train and measure many systems; with
    `epsilon_sweep`, correct with one threshold after another.

    Raises:
        UsageError, ModelFolderError: the data, the model or the output cannot be used.
        JobError: the data could not be read to its end, or a run of a suite has failed.
    """
    if options.suite:
        check_training("cilf evaluate --suite")
        from cilf.suite import job as suite

        return suite.run(options)
    from cilf.evaluation import detection, epsilon_sweep, job

    if options.epsilon_sweep and options.faces:
        raise UsageError("--epsilon-sweep and --faces measure different things: choose one")
    if options.epsilon_sweep:
        return epsilon_sweep.run(options)
    return detection.run(options) if options.faces else job.run(options)
