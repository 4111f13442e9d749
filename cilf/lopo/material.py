"""The data that all fits of a leave-one-person-out evaluation share; Ray's tasks get it once per process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cilf.age_space import AgeSpace
from cilf.lopo.heads import Given


@dataclass(frozen=True)
class Material:
    """N photographs as rows to fit on, in NumPy arrays, which Ray's processes share."""

    x_NVMX: np.ndarray
    """The features of cilf.lopo.features.Frozen."""
    ages_N: np.ndarray
    """float32, years."""
    subjects_N: np.ndarray
    """object: the person's id."""
    text_KC: np.ndarray
    """The model's prompts' vectors."""
    scale: float
    """1 / τ of the model."""
    youngest: int
    oldest: int
    seed: int

    @property
    def people(self) -> list[str]:
        """The ids of all people, each once, sorted."""
        return sorted(set(self.subjects_N))

    @property
    def given(self) -> Given:
        """The age range and constants that heads are built with."""
        return Given(AgeSpace(self.youngest, self.oldest), torch.tensor(self.text_KC), self.scale)

    def rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The features x [n, V, M, X] and ages [n] of some rows."""
        return torch.tensor(self.x_NVMX[rows]), torch.tensor(self.ages_N[rows])
