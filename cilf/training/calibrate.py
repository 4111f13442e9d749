"""Fit a trained model's corrector on faces that the model has not seen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch

from cilf.card import Images
from cilf.errors import UsageError
from cilf.estimator import SecondNetwork, first_look
from cilf.models.conformal import MIN_SUBJECTS
from cilf.models.correction_table import CorrectionTable
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.training.epochs import Views

LEAST_HELD_OUT = 2 * MIN_SUBJECTS
"""Subjects that calibration takes."""

DEGRADED = 2
"""Degraded copies of each face that calibration sees beside the face as it is: our own choice."""

_BATCH = 128

Degrade = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""An image, uint8 [H, W, C], the side of the crop and a generator -> a degraded crop, uint8 [S, S, C]."""


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
    rows: pa.Table,
    subject_N: np.ndarray,
    second: SecondNetwork | None = None,
    degrade: Degrade | None = None,
    seed: int = 0,
) -> CorrectionTable:
    """What the networks say of labelled rows: as they are, and then degraded.

    Args:
        model: in eval mode.
        rows: cilf.training.rows.ROW.
        subject_N: int64, a number per subject.
        second: the second network; None: there is none.
        degrade: makes degraded copies, DEGRADED of each row; None: none are made.
        seed: of the degradations.
    """
    tables = [_seen(model, rows, subject_N, second, lambda images_NHWC: images_NHWC, clean=True)]
    for copy in range(DEGRADED if degrade else 0):
        assert degrade is not None
        draw = np.random.default_rng((seed, copy))

        def degraded(images_NHWC: np.ndarray, draw: np.random.Generator = draw) -> np.ndarray:
            return np.stack([degrade(image_HWC, image_HWC.shape[0], draw) for image_HWC in images_NHWC])

        tables.append(_seen(model, rows, subject_N, second, degraded, clean=False))
    return CorrectionTable.concatenated(tables)


def _seen(
    model: Network,
    rows: pa.Table,
    subject_N: np.ndarray,
    second: SecondNetwork | None,
    change: Callable[[np.ndarray], np.ndarray],
    clean: bool,
) -> CorrectionTable:
    device = next(model.parameters()).device
    normalise = Normalise(model.spec.images).to(device)
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = rows.slice(start, _BATCH)
        pixels = normalise(torch.from_numpy(change(crops(batch, model.spec.images))).to(device))
        with torch.inference_mode():
            look = first_look(model, pixels, torch.float32)
            look = look if second is None else look.with_second(second(pixels))
        low_N, high_N = (torch.from_numpy(bound_N).to(device) for bound_N in _bounds(batch, model.ages.oldest))
        subjects = torch.from_numpy(subject_N[start : start + _BATCH]).to(device)
        parts.append(CorrectionTable(look, low_N, high_N, subjects, torch.full_like(subjects, clean, dtype=torch.bool)))
    return CorrectionTable.concatenated(parts)


def _bounds(rows: pa.Table, oldest: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of what is known of each age, float32 [N] years; an open group ends at `oldest`."""
    age_N, low_N, high_N = (
        rows[name].to_numpy().astype(np.float32)
        if name in rows.column_names
        else np.full(len(rows), np.nan, np.float32)
        for name in ("age", "age_low", "age_high")
    )
    group_N = ~np.isnan(low_N)
    ends_N = np.where(np.isnan(high_N), np.maximum(low_N, oldest), high_N).astype(np.float32)
    return np.where(group_N, low_N, age_N), np.where(group_N, ends_N, age_N)


def crops(rows: pa.Table, images: Images) -> np.ndarray:
    """The images of rows as labelling decodes them, uint8 [N, S, S, C]."""
    as_labelled = Views(images, np.ones(0, np.float32), None)
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(lambda row: as_labelled.view(*row), as_labelled.encoded(rows))))
