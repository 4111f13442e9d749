"""All that the fits of a leave-one-person-out share; Ray's tasks get it once for each process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cilf.ages import AgeSpace
from cilf.lopo.heads import Given


@dataclass(frozen=True)
class Material:
    """N photographs as rows to fit on; numpy, which Ray's processes share."""

    x_NVMX: np.ndarray
    """cilf.lopo.features.Frozen."""
    ages_N: np.ndarray
    """float32, years."""
    subjects_N: np.ndarray
    """object: who it is."""
    text_KC: np.ndarray
    """The model's prompts' vectors."""
    scale: float
    """1 / τ of the model."""
    youngest: int
    oldest: int
    seed: int

    @property
    def people(self) -> list[str]:
        """Everybody, once, sorted."""
        return sorted(set(self.subjects_N))

    @property
    def given(self) -> Given:
        """What heads are made for."""
        return Given(AgeSpace(self.youngest, self.oldest), torch.tensor(self.text_KC), self.scale)

    def rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """x [n, V, M, X] and ages [n] of some rows."""
        return torch.tensor(self.x_NVMX[rows]), torch.tensor(self.ages_N[rows])
