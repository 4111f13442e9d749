"""Fit a trained model's corrector on faces that the model has not seen."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch

from cilf.card import Images
from cilf.errors import UsageError
from cilf.estimator import predictions
from cilf.models.conformal import MIN_SUBJECTS
from cilf.models.corrector import Corrector
from cilf.models.corrector_fit import CorrectionTable, Plan, fit_corrector
from cilf.models.evidence import Predictions
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.training.epochs import Views

_TEACHING = 0.35
"""Share of the held-out subjects that teach the error ensemble; the others set thresholds and intervals, for which the
rarest age band needs the rows more."""

LEAST_HELD_OUT = math.ceil(2 * MIN_SUBJECTS / _TEACHING)
"""Subjects that calibration takes."""

_BATCH = 128


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


def calibrate(model: Network, held: CorrectionTable, plan: Plan, seed: int) -> Corrector:
    """The corrector of a model.

    Args:
        model: in eval mode.
        held: the model's predictions of subjects that nothing was fitted to.
        plan: what the corrector is to achieve.
        seed: of the split and of every draw.
    """
    subjects = held.subject_N.unique()
    order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed)).to(subjects.device)
    teaching = torch.isin(held.subject_N, subjects[order[: round(len(subjects) * _TEACHING)]])
    return fit_corrector(model.ages, held.at(teaching), held.at(~teaching), plan, seed)


def correction_table(model: Network, rows: pa.Table, subject_N: np.ndarray, max_views: int) -> CorrectionTable:
    """A model's predictions of labelled rows under the first `max_views` views.

    Args:
        model: in eval mode.
        rows: cilf.training.rows.ROW.
        subject_N: int64, a number per subject.
        max_views: as in Plan.
    """
    device = next(model.parameters()).device
    normalise = Normalise(model.spec.images).to(device)
    parts = []
    for start in range(0, len(rows), _BATCH):
        images_NHWC = crops(rows.slice(start, _BATCH), model.spec.images)
        pixels = normalise(torch.from_numpy(images_NHWC).to(device))
        parts.append(predictions(model, pixels, 0, max_views, torch.float32))
    return CorrectionTable(
        Predictions.concatenated(parts),
        torch.from_numpy(rows["age"].to_numpy().astype(np.float32)).to(device),
        torch.from_numpy(subject_N).to(device),
    )


def crops(rows: pa.Table, images: Images) -> np.ndarray:
    """The images of rows as labelling decodes them, uint8 [N, S, S, C]."""
    as_labelled = Views(images, np.ones(0, np.float32), None)
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(lambda row: as_labelled.views(*row), as_labelled.encoded(rows))))
