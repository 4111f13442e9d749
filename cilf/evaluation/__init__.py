"""Measuring a model. `evaluate` is the entry point; it imports its modules only when it is called."""

from __future__ import annotations

import importlib

from cilf.config import EvaluateOptions
from cilf.errors import UsageError
from cilf.extras import check_training

_KINDS = {
    "suite": "cilf.suite.job",
    "faces": "cilf.evaluation.detection",
    "epsilon_sweep": "cilf.evaluation.epsilon_sweep",
    "degraded": "cilf.evaluation.degraded",
    "parts": "cilf.evaluation.parts",
}
"""Options that replace the usual evaluation by another measurement, and the modules whose `run` performs it."""


def evaluate(options: EvaluateOptions) -> int:
    """Estimate the ages of labelled faces, show how good the estimates are, and write tables, figures and rows.

    With `faces`, measure face detection on photographs instead; with `suite`, train and measure many systems; with
    `epsilon_sweep`, repeat correction with different thresholds; with `degraded`, estimate the same faces in degraded
    photographs; with `parts`, estimate the faces with one part of the network removed at a time.

    Raises:
        UsageError, ModelFolderError: the data, the model or the output cannot be used.
        JobError: the data could not be read completely, or a run of a suite failed.
    """
    chosen = [name for name in _KINDS if getattr(options, name)]
    if len(chosen) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise UsageError(f"{flags} cannot be combined: choose one")
    if options.suite:
        check_training("cilf evaluate --suite")
    return importlib.import_module(_KINDS[chosen[0]] if chosen else "cilf.evaluation.job").run(options)
