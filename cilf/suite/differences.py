"""Differences between systems: errors by band of true ages or ranks, and paired differences from a reference."""

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
"""Key of a face. The id alone is not unique: all faces of a photograph have the photograph's id."""


@dataclass(frozen=True)
class Band:
    """A band of true ages or ranks."""

    name: str
    faces: int
    """Number of faces over all folds, for the system that was measured on the most faces."""
    mae: list[float | None]
    """MAE of each system; None for a system with too few faces."""


def faces(system: Entry) -> pd.DataFrame:
    """A row per face of a system, over all folds: truth, absolute error (mean over seeds), id and subject if known."""
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
    """Bands of a data set that contain faces, the lowest first, with the MAE of each system in the order of `systems`.

    Args:
        measured: result of `faces` for each system.
    """
    bands = []
    for name, (low, high) in scale_of(systems[0].results[0].run.recipe.model.ages.space).bands.items():
        errors = [every.error[(every.truth >= low) & (every.truth < high)] for every in measured]
        if most := max(len(error) for error in errors):
            mae = [float(error.mean()) if len(error) >= SMALLEST else None for error in errors]
            bands.append(Band(name, most, mae))
    return bands


def against(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float | None] | None:
    """Difference of MAE, `ours` minus `theirs`, over the faces that both have, with a 95 % bootstrap interval over
    subjects, or over faces if subjects are unknown. Returns None if they have no face in common."""
    both = ours.index.intersection(theirs.index)
    if not len(both):
        return None
    ours, theirs = ours.loc[both], theirs.loc[both]
    # A face that is tested in several folds is still one unit of the bootstrap.
    itself = both.get_level_values("id").astype(str) + " itself"
    units = ours.subject.where(ours.subject.notna(), itself).to_numpy(object)
    everyone = Group("all", "all", np.arange(len(both)))
    figures = Figures({"against": (ours.error - theirs.error).to_numpy()}, [everyone], units)
    return figures.figure(everyone, "against")
