"""CILF-CIAE's correction, fitted anew for each left-out person on out-of-fold predictions of all others.

There is no second network here: estimates are judged, given intervals, and moved where that is shown to help. FG-NET's
82 people are fewer than the corrector's tests want, so each photograph counts as one of its own there: what it promises
holds for photographs of the people it knows, and how far for a stranger is what the left-out person tells.
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
from cilf.models.correction_table import CorrectionTable
from cilf.models.corrector import Corrector, Judged
from cilf.models.corrector_fit import fit_corrector
from cilf.models.evidence import Look

PHOTOGRAPHS = 8 * MIN_SUBJECTS
"""Fewest to fit it on."""


def fit_correction(material: Material, rows: np.ndarray, rate: float) -> Corrector:
    """A corrector from the photographs of some people, int64, ascending."""
    said, ages_n = out_of_fold(material, CIAE, rows, rate)
    photographs = torch.arange(len(rows))
    table = CorrectionTable(_look(said), ages_n, ages_n, photographs, torch.ones_like(photographs, dtype=torch.bool))
    return fit_corrector(AgeSpace(material.youngest, material.oldest), table, seed=material.seed)


def corrected(corrector: Corrector, said: Said) -> Judged:
    """Judge and correct what a head says of other rows."""
    return corrector.label(_look(said), None)


def _look(said: Said) -> Look:
    assert said.posterior_NVK is not None
    assert said.others_NVD is not None
    return Look(said.posterior_NVK[:, 0], said.others_NVD[:, 0])
