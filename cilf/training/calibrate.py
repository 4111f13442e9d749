"""Fit a trained model's corrector on faces that the model has not seen."""

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
"""Subjects that calibration takes."""

DEGRADED = 2
"""Degraded copies of each face that calibration sees beside the face as it is: our own choice."""

BATCH = 128
"""Rows that go through the networks at once."""


def check_subjects(held: int, fitted: int) -> None:
    """Stop before training where there are too few people to calibrate on after it.

    Args:
        held: subjects held out.
        fitted: subjects to learn from.

    Raises:
        UsageError: too few are held out.
    """
    if held < LEAST_HELD_OUT:
        raise UsageError(
            f"{held} of {held + fitted} subjects are held out, and to calibrate on them takes at least "
            f"{LEAST_HELD_OUT}: raise held_out or bring more faces; a row whose subject is unknown counts as one. "
            "Few faces are learned from beside a base set, which is calibrated on: see configs/train/corrections.yaml"
        )


def correction_table(
    model: Network,
    rows: Iterable[pa.Table],
    subjects: pa.Array,
    second: SecondNetwork | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> CorrectionTable:
    """What the networks say of labelled rows: as labelling sees them, and DEGRADED times as training does.

    Args:
        model: in eval mode.
        rows: batches of cilf.training.examine.ROW, of which only one is in memory at a time.
        subjects: the `subject_keys` of all rows, each once; a subject's number is its place there.
        second: the second network; None: there is none.
        seed: of the degradations.
        dtype: what the second network computes in: float32, or bfloat16 by autocast.
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
    """The images of rows, uint8 [N, S, S, C]."""
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(lambda row: views.views(*row), views.encoded(rows))))
