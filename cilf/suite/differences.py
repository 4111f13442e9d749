"""Where systems differ: their errors by band of true ages or ranks, and against one of them, face by face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cilf.evaluation.figures import Figures, Group
from cilf.suite.result import Entry, Result

_BANDS = ("age", "rank")


@dataclass(frozen=True)
class Band:
    """A band of true ages or ranks, over all folds."""

    name: str
    faces: int
    mae: list[float | None]
    """Of each system, mean over its runs; None where one of them has too few faces for a figure."""


def by_band(systems: Sequence[Entry]) -> list[Band]:
    """The bands of a data set, the lowest first, with the errors of the systems in their order."""
    found = [_bands(result) for result in systems[0].results if result.run.seed == systems[0].seeds[0]]
    names = list(dict.fromkeys(name for bands in found for name in bands))
    bands = []
    for name in names:
        faces = sum(bands[name]["rows"] for bands in found if name in bands)
        bands.append(Band(name, faces, [_mean(system, name) for system in systems]))
    return bands


def _mean(system: Entry, band: str) -> float | None:
    rows = [found[band] for result in system.results if band in (found := _bands(result))]
    if not rows or any(row["hidden"] for row in rows):
        return None
    return float(np.mean([row["mae"]["value"] for row in rows]))


def _bands(result: Result) -> dict[str, Any]:
    return {row["group"]: row for row in result.record["groups"] if row["by"] in _BANDS}


def against(system: Entry, reference: Entry) -> dict[str, float | None] | None:
    """By how much the MAE of a system is above that of another on the same faces, with its 95 % bootstrap interval over
    people, or over faces where people are not known; None where the faces are not the same."""
    ours, theirs = _errors(system), _errors(reference)
    if ours is None or theirs is None or ours.keys() != theirs.keys():
        return None
    subjects = [theirs[face][1] for face in theirs]
    known = any(subject is not None for subject in subjects)
    differences_N = np.array([ours[face][0] - theirs[face][0] for face in theirs])
    everyone = Group("all", "all", np.arange(len(differences_N)))
    figures = Figures({"against": differences_N}, [everyone], np.array(subjects, object) if known else None)
    return figures.figure(everyone, "against")


def _errors(system: Entry) -> dict[tuple[int | None, str], tuple[float, str | None]] | None:
    """Each face's absolute error, mean over the seeds, and who it is; None where a run has left no estimates."""
    errors: dict[tuple[int | None, str], list[float]] = {}
    people: dict[tuple[int | None, str], str | None] = {}
    for result in system.results:
        if result.estimates is None:
            return None
        table = result.estimates
        off_N = np.abs(table["estimate"].to_numpy() - table["age"].to_numpy().astype(np.float64))
        names = table["subject"].to_pylist() if "subject" in table.column_names else [None] * len(off_N)
        for face, off, name in zip(table["id"].to_pylist(), off_N, names, strict=True):
            errors.setdefault((result.run.fold, face), []).append(float(off))
            people[result.run.fold, face] = name
    return {key: (float(np.mean(values)), people[key]) for key, values in errors.items()}
