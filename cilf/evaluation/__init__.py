"""Measuring a model. `evaluate` is the way in; its imports wait until it is called."""

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
"""Options that ask for something else than an evaluation, and the modules whose `run` does it."""


def evaluate(options: EvaluateOptions) -> int:
    """Estimate the ages of labelled faces, show how good the estimates are, and write tables, figures and rows.

    With `faces`, find the faces of photographs instead; with `suite`, train and measure many systems; with
    `epsilon_sweep`, correct with one threshold after another; with `degraded`, estimate the same faces of worse
    photographs; with `parts`, without one part of the network after another.

    Raises:
        UsageError, ModelFolderError: the data, the model or the output cannot be used.
        JobError: the data could not be read to its end, or a run of a suite has failed.
    """
    chosen = [name for name in _KINDS if getattr(options, name)]
    if len(chosen) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise UsageError(f"{flags} measure different things: choose one")
    if options.suite:
        check_training("cilf evaluate --suite")
    return importlib.import_module(_KINDS[chosen[0]] if chosen else "cilf.evaluation.job").run(options)
