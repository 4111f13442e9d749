"""Chooses each system's learning rate on people who are not tested with it.

The people are divided at random into two halves. The learning rate for testing one half is chosen by cross-validation
within the other half, whose people are always in the training set of the tested person. So no photograph of a person
influences the rate that this person is tested with, and the choice is made twice per system instead of once per fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cilf.lopo.fitting import RATES, Said, ask, fit
from cilf.lopo.material import Material
from cilf.protocols.folds import crossed

INNER = 4
"""Number of folds, by person, of the inner cross-validation."""


def halves(subjects: Sequence[str], seed: int) -> dict[str, int]:
    """The half that each person is in, 0 or 1."""
    order = np.random.default_rng(seed).permutation(len(subjects))
    return {subjects[place]: rank % 2 for rank, place in enumerate(order)}


def tried(material: Material, system: str, half: int) -> list[float | None]:
    """MAE, years, for each of RATES, of the people who are not in `half`; None if training diverged."""
    half_of = halves(material.people, material.seed)
    rows = np.flatnonzero([half_of[subject] != half for subject in material.subjects_N])
    maes: list[float | None] = []
    for rate in RATES:
        said, ages_n = out_of_fold(material, system, rows, rate)
        mae = float((said.ages_N - ages_n).abs().mean())
        maes.append(mae if math.isfinite(mae) else None)
    return maes


def best(maes: Sequence[float | None]) -> float:
    """The learning rate of RATES with the lowest MAE."""
    return RATES[int(np.argmin([math.inf if mae is None else mae for mae in maes]))]


def out_of_fold(material: Material, system: str, rows: np.ndarray, rate: float) -> tuple[Said, Tensor]:
    """Out-of-fold estimates, by heads not trained on a row's person, and the true ages, both in the order of `rows`."""
    given = material.given
    order, parts = [], []
    for fold in crossed(rows, material.subjects_N, INNER, material.seed):
        model = fit(system, given, *material.rows(fold.train), rate, material.seed)
        parts.append(ask(system, model, material.rows(fold.test)[0]))
        order.append(fold.test)
    # Ascending, as `rows` are.
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    return Said.joined(parts).at(back), material.rows(rows)[1]
