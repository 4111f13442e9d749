"""Training of models. `train` is the entry point; it imports heavy packages only when it is called."""

from __future__ import annotations

from cilf.config import TrainOptions
from cilf.extras import check_training


def train(options: TrainOptions) -> int:
    """Train a network, calibrate its corrector on held-out faces, evaluate it and write the model folder.

    Raises:
        UsageError: the recipe or its data cannot be used, or a package is missing.
    """
    check_training("cilf train")
    from cilf.training.job import run

    return run(options)
