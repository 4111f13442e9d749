"""Learning rates, chosen for each system by people who are not tested with them.

Everybody is in one of two halves, drawn at random. What those of one half are tested with is chosen by cross-validation
among those of the other, who are all among the people to learn from whoever is left out. So no photograph of a person
has a say in what that person is tested with, and a choice is made twice for each system instead of for each fold.
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
"""Folds by person of an inner cross-validation."""


def halves(subjects: Sequence[str], seed: int) -> dict[str, int]:
    """Which half each person is in, 0 or 1."""
    order = np.random.default_rng(seed).permutation(len(subjects))
    return {subjects[place]: rank % 2 for rank, place in enumerate(order)}


def tried(material: Material, system: str, half: int) -> list[float | None]:
    """MAE, years, of each of RATES among the people who are not in `half`; None where it diverged."""
    half_of = halves(material.people, material.seed)
    rows = np.flatnonzero([half_of[subject] != half for subject in material.subjects_N])
    maes: list[float | None] = []
    for rate in RATES:
        said, ages_n = out_of_fold(material, system, rows, rate)
        mae = float((said.ages_N - ages_n).abs().mean())
        maes.append(mae if math.isfinite(mae) else None)
    return maes


def best(maes: Sequence[float | None]) -> float:
    """Of RATES, by its MAE."""
    return RATES[int(np.argmin([math.inf if mae is None else mae for mae in maes]))]


def out_of_fold(material: Material, system: str, rows: np.ndarray, rate: float) -> tuple[Said, Tensor]:
    """What heads that have not seen a row's person say of it, and the true ages; in the order of `rows`."""
    given = material.given
    order, parts = [], []
    for fold in crossed(rows, material.subjects_N, INNER, material.seed):
        model = fit(system, given, *material.rows(fold.train), rate, material.seed)
        parts.append(ask(system, model, material.rows(fold.test)[0]))
        order.append(fold.test)
    # Ascending, as `rows` are.
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    return Said.joined(parts).at(back), material.rows(rows)[1]
