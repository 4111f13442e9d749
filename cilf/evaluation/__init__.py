"""Measuring a model. `evaluate` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import EvaluateOptions


def evaluate(options: EvaluateOptions) -> int:
    """Estimate the ages of labelled faces and print how good the estimates are, as JSON.

    Raises:
        UsageError, ModelFolderError: the data or the model cannot be used.
    """
    from cilf.evaluation.measure import run

    return run(options)
