"""Training a model. `train` is the way in; its imports wait until it is called."""

from __future__ import annotations

from cilf.config import TrainOptions
from cilf.extras import check_training


def train(options: TrainOptions) -> int:
    """Fit a network, calibrate its correction on faces kept back, measure it and write the model folder.

    Raises:
        UsageError: the recipe or its data cannot be used, or a package is missing.
    """
    check_training("cilf train")
    from cilf.training.job import run

    return run(options)
