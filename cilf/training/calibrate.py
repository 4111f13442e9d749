"""Builds the table that a trained model's corrector is fitted on, from faces that the model was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch

from cilf.errors import UsageError
from cilf.estimator import first_look, second_look
from cilf.models.conformal import MIN_SUBJECTS
from cilf.models.correction_table import CorrectionTable
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.models.second import SecondNetwork
from cilf.training.balance import bounds
from cilf.training.epochs import Views
from cilf.training.rows import subject_numbers

LEAST_HELD_OUT = 2 * MIN_SUBJECTS
"""Least number of held-out subjects that calibration needs."""

DEGRADED = 2
"""Number of degraded copies of each face that calibration uses besides the undegraded face; our own choice."""

BATCH = 128
"""Number of rows that pass through the networks at once."""


def check_subjects(held: int, fitted: int) -> None:
    """Check before training that enough subjects are held out to calibrate on after it.

    Args:
        held: number of subjects held out.
        fitted: number of subjects to train on.

    Raises:
        UsageError: too few are held out.
    """
    if held < LEAST_HELD_OUT:
        raise UsageError(
            f"{held} of {held + fitted} subjects are held out, but calibration needs at least "
            f"{LEAST_HELD_OUT}: raise held_out or add more faces; a row without a subject counts as one subject. "
            "To train on few faces, add a base set to calibrate on: see configs/train/corrections.yaml"
        )


def correction_table(
    model: Network,
    rows: Iterable[pa.Table],
    subjects: pa.Array,
    second: SecondNetwork | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> CorrectionTable:
    """Predictions of the networks for labelled rows: once as labelling crops them, and DEGRADED times augmented.

    Args:
        model: in eval mode.
        rows: batches of cilf.training.examine.ROW, of which only one is in memory at a time.
        subjects: the `subject_keys` of all rows, each once; a subject's number is its position there.
        second: the second network; None if there is none.
        seed: seed for the degradations.
        dtype: precision of the second network: float32, or bfloat16 by autocast.
    """
    device = next(model.parameters()).device
    normalise = Normalise(model.spec.images).to(device)
    parts = []
    for batch in rows:
        subject_N = torch.from_numpy(subject_numbers(batch, subjects)).to(device)
        low_N, high_N = (torch.from_numpy(bound_N).to(device) for bound_N in bounds(batch, model.ages.oldest))
        for copy in (None, *range(DEGRADED)):
            views = Views(model.spec.images, np.ones(0, np.float32), None if copy is None else (seed, copy))
            pixels_BCHW = normalise(torch.from_numpy(crops(batch, views)).to(device))
            with torch.inference_mode():
                look = first_look(model, pixels_BCHW, torch.float32)
                look = look if second is None else look.with_second(second_look(second, pixels_BCHW, dtype))
            clean = torch.full_like(subject_N, copy is None, dtype=torch.bool)
            parts.append(CorrectionTable(look, low_N, high_N, subject_N, clean))
    return CorrectionTable.concatenated(parts)


def crops(rows: pa.Table, views: Views) -> np.ndarray:
    """The images of the rows, uint8 [N, S, S, C]."""
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(lambda row: views.views(*row), views.encoded(rows))))
