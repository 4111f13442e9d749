"""CILF-CIAE's correction, fitted separately for each left-out person on out-of-fold predictions of all others.

There is no second network here: estimates are judged, given intervals, and moved only where that is shown to help.
FG-NET's 82 people are fewer than the corrector's tests need, so each photograph counts as a separate person: the
guarantees hold for photographs of people in the fit, and the left-out person shows how far they hold for strangers.
"""

from __future__ import annotations

import numpy as np
import torch

from cilf.age_space import AgeSpace
from cilf.lopo.choice import out_of_fold
from cilf.lopo.fitting import Said
from cilf.lopo.heads import CIAE
from cilf.lopo.material import Material
from cilf.models.conformal import MIN_SUBJECTS
from cilf.models.correction_table import CorrectionTable
from cilf.models.corrector import Corrector, Judged
from cilf.models.corrector_fit import fit_corrector
from cilf.models.evidence import Look

PHOTOGRAPHS = 8 * MIN_SUBJECTS
"""Minimum number of photographs to fit the correction on."""


def fit_correction(material: Material, rows: np.ndarray, rate: float) -> Corrector:
    """Fits a corrector on the photographs in `rows`, int64, ascending."""
    said, ages_n = out_of_fold(material, CIAE, rows, rate)
    photographs = torch.arange(len(rows))
    table = CorrectionTable(_look(said), ages_n, ages_n, photographs, torch.ones_like(photographs, dtype=torch.bool))
    return fit_corrector(AgeSpace(material.youngest, material.oldest), table, seed=material.seed)


def corrected(corrector: Corrector, said: Said) -> Judged:
    """Judge and correct a head's output for other rows."""
    return corrector.label(_look(said), None)


def _look(said: Said) -> Look:
    assert said.posterior_NVK is not None
    assert said.others_NVD is not None
    return Look(said.posterior_NVK[:, 0], said.others_NVD[:, 0])
