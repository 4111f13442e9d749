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
"""Share of the held-out subjects that teach the error ensemble where no folds do; the others set thresholds and
intervals, for which the rarest age band needs the rows more."""

_NEEDED = 2 * MIN_SUBJECTS
"""Subjects that set thresholds and intervals, or that folds teach the error ensemble with."""

_BATCH = 128


def check_subjects(held: int, fitted: int, folds: bool) -> None:
    """Stop before training where there are too few people to calibrate on after it.

    Args:
        held: subjects held out.
        fitted: subjects to learn from.
        folds: whether the error model learns from folds of these.

    Raises:
        UsageError: too few of either.
    """
    if held < _least_held(folds):
        raise UsageError(
            f"{held} of {held + fitted} subjects are held out, and to calibrate on them takes at least "
            f"{_least_held(folds)}: raise held_out or bring more faces; a row whose subject is unknown counts as one. "
            "Few faces are learned from beside a base set, which is calibrated on: see configs/train/corrections.yaml"
        )
    if folds and fitted < _NEEDED:
        raise UsageError(f"{fitted} subjects to learn from, and folds take at least {_NEEDED}: bring more faces")


def is_enough(held: int, fitted: int, folds: bool) -> bool:
    """Whether `check_subjects` lets so many pass."""
    return held >= _least_held(folds) and (fitted >= _NEEDED or not folds)


def _least_held(folds: bool) -> int:
    return _NEEDED if folds else math.ceil(_NEEDED / _TEACHING)


def calibrate(model: Network, held: CorrectionTable, folds: CorrectionTable | None, plan: Plan, seed: int) -> Corrector:
    """The corrector of a model.

    Args:
        model: in eval mode.
        held: the model's predictions of subjects that nothing was fitted to.
        folds: predictions of the fitted subjects by models that had not seen them; None: a part of `held` stands in.
        plan: what the corrector is to achieve.
        seed: of the split and of every draw.
    """
    if folds is None:
        subjects = held.subject_N.unique()
        order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed)).to(subjects.device)
        teaching = torch.isin(held.subject_N, subjects[order[: round(len(subjects) * _TEACHING)]])
        folds, held = held.at(teaching), held.at(~teaching)
    return fit_corrector(model.ages, folds, held, plan, seed)


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
        return np.stack(list(pool.map(lambda row: as_labelled.view(*row), as_labelled.encoded(rows))))
