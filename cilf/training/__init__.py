"""Training a model. `train` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import TrainOptions


def train(options: TrainOptions) -> int:
    """Fit a network, calibrate its correction on faces kept back, measure it and write the model folder.

    Raises:
        UsageError: the recipe or its data cannot be used.
    """
    from cilf.training.job import run

    return run(options)
