"""Where systems differ: their errors by band of true ages or ranks, and against one of them, face by face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cilf.evaluation.figures import SMALLEST, Figures, Group
from cilf.evaluation.scale import scale_of
from cilf.suite.result import Entry, Result

_FACE = ["fold", "id", "again"]
"""What tells a face from others: a photograph may show several, all of which have its id."""


@dataclass(frozen=True)
class Band:
    """A band of true ages or ranks."""

    name: str
    faces: int
    """Over all folds, of the system that was measured on the most."""
    mae: list[float | None]
    """Of each system; None of one with too few faces for a figure."""


def faces(system: Entry) -> pd.DataFrame:
    """A row per face, over all folds: truth, error (absolute, mean over the seeds), id and, where known, subject."""
    rows = pd.concat([_rows(result) for result in system.results])
    columns = {"truth": ("truth", "first"), "error": ("error", "mean"), "subject": ("subject", "first")}
    return rows.groupby(_FACE, dropna=False, sort=False).agg(**columns)


def _rows(result: Result) -> pd.DataFrame:
    table = result.estimates
    seen: Counter[str] = Counter()
    again = []
    for face in table["id"].to_pylist():
        again.append(seen[face])
        seen[face] += 1
    truth_N = table["age"].to_numpy().astype(np.float64)
    return pd.DataFrame(
        {
            "fold": -1 if result.run.fold is None else result.run.fold,
            "id": table["id"].to_pylist(),
            "again": again,
            "truth": truth_N,
            "error": np.abs(table["estimate"].to_numpy() - truth_N),
            "subject": table["subject"].to_pylist() if "subject" in table.column_names else None,
        }
    )


def by_band(systems: Sequence[Entry], measured: Sequence[pd.DataFrame]) -> list[Band]:
    """The bands of a data set that have faces, the lowest first, with the errors of the systems in their order.

    Args:
        measured: `faces` of each system.
    """
    bands = []
    for name, (low, high) in scale_of(systems[0].results[0].run.recipe.model.ages.space).bands.items():
        errors = [every.error[(every.truth >= low) & (every.truth < high)] for every in measured]
        if most := max(len(error) for error in errors):
            mae = [float(error.mean()) if len(error) >= SMALLEST else None for error in errors]
            bands.append(Band(name, most, mae))
    return bands


def against(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float | None] | None:
    """By how much our MAE is above theirs over the faces that both have, with its 95 % bootstrap interval over people,
    or over faces where people are not known; None where they have no face in common."""
    both = ours.index.intersection(theirs.index)
    if not len(both):
        return None
    ours, theirs = ours.loc[both], theirs.loc[both]
    # A face may be tested in several folds, and is no more than one all the same.
    itself = both.get_level_values("id").astype(str) + " itself"
    units = ours.subject.where(ours.subject.notna(), itself).to_numpy(object)
    everyone = Group("all", "all", np.arange(len(both)))
    figures = Figures({"against": (ours.error - theirs.error).to_numpy()}, [everyone], units)
    return figures.figure(everyone, "against")
