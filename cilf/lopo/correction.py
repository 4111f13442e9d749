"""CILF-CIAE's correction, fitted anew for each left-out person on out-of-fold predictions of all others.

Half of the others teach the error model, the other half set its thresholds and intervals. FG-NET's 82 people are fewer
than the corrector's tests want, so each photograph counts as one of its own there: what it promises holds for
photographs of the people it knows, and how far for a stranger is what the left-out person tells.
"""

from __future__ import annotations

import numpy as np
import torch

from cilf.ages import AgeSpace
from cilf.lopo.choice import out_of_fold
from cilf.lopo.fitting import Said
from cilf.lopo.heads import CIAE
from cilf.lopo.material import Material
from cilf.models.conformal import MIN_SUBJECTS
from cilf.models.corrector import Corrector, Judged
from cilf.models.corrector_fit import CorrectionTable, Plan, fit_corrector
from cilf.models.evidence import Predictions
from cilf.protocols.folds import drawn

PHOTOGRAPHS = 8 * MIN_SUBJECTS
"""Fewest to fit it on."""


def fit_correction(material: Material, rows: np.ndarray, rate: float) -> Corrector:
    """A corrector from the photographs of some people, int64, ascending."""
    said, ages_n = out_of_fold(material, CIAE, rows, rate)
    halved = drawn("halves", np.arange(len(rows)), material.subjects_N[rows], 0.5, material.seed)
    table = CorrectionTable(_predictions(said), ages_n, torch.arange(len(rows)))
    space = AgeSpace(material.youngest, material.oldest)
    teaching, calibrating = (table.at(torch.from_numpy(half)) for half in (halved.train, halved.test))
    return fit_corrector(space, teaching, calibrating, Plan(), material.seed)


def corrected(corrector: Corrector, said: Said) -> Judged:
    """Judge and correct what a head says of other rows."""
    table = _predictions(said)

    def predict(rows: torch.Tensor, first: int, count: int) -> Predictions:
        assert table.others_BVD is not None
        views = slice(first, first + count)
        return Predictions(table.probs_BVK[rows, views], table.others_BVD[rows, views])

    everything = torch.arange(len(said.ages_N))
    return corrector.label(predict(everything, 0, 1), predict)


def _predictions(said: Said) -> Predictions:
    assert said.posterior_NVK is not None
    return Predictions(said.posterior_NVK, said.others_NVD)
