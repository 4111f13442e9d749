"""Errors of age estimates over all rows and by age, gender, race and acceptance, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cilf.estimator import Estimates
from cilf.evaluation.figures import SMALLEST, Figures, Group, groups_by_judgement, groups_of_people
from cilf.evaluation.judgement import aurc, calibration_error, equal_bins, risk_coverage
from cilf.evaluation.metrics import cumulative_score, epsilon_errors, nearest_ranks, within_years
from cilf.evaluation.scale import YEARS, Scale
from cilf.protocols.clap import UNSURE

_CURVE = np.arange(1, 101) / 100


def groups_of(
    ages_N: np.ndarray, accepted_N: np.ndarray, labels: Mapping[str, np.ndarray], scale: Scale = YEARS
) -> list[Group]:
    """Groups of rows: all rows, each band, each decade (if ages are in years), each gender and race, accepted rows and
    rows that are not accepted. Empty groups are left out."""
    bands = [(scale.by, name, low, high) for name, (low, high) in scale.bands.items()]
    if not scale.ranks:
        bands += [("decade", f"{low}-{low + 9}", low, low + 10) for low in range(0, int(ages_N.max()) + 1, 10)]
    found = [Group("all", "all", np.arange(len(ages_N)))]
    found += [Group(by, name, np.flatnonzero((ages_N >= low) & (ages_N < high))) for by, name, low, high in bands]
    found += [*groups_of_people(labels), *groups_by_judgement(accepted_N)]
    return [group for group in found if len(group.rows)]


def assess(
    estimates: Estimates,
    ages_N: np.ndarray,
    labels: Mapping[str, np.ndarray],
    stds_N: np.ndarray | None = None,
    scale: Scale = YEARS,
) -> dict[str, Any]:
    """All figures of the estimates of N >= 1 faces, as strict JSON types.

    Errors are in years or ranks, shares in 0..1, CS and rank accuracy in per cent. If subjects are known, the bootstrap
    resamples whole subjects, and a row without a subject counts as one subject; otherwise it resamples rows.

    Args:
        labels: `gender`, `race` and `subject` of the rows, as in cilf.datasets.faces.Faces.
        stds_N: standard deviations of the annotators whose mean is the age, in years, for the ε-error; NaN where
            unknown.
    """
    errors_N = np.abs(estimates.age - ages_N)
    columns = {
        "mae": errors_N,
        "cs5": 100 * within_years(estimates.age - ages_N),
        "bias": estimates.age - ages_N,
        "mae_before_correction": np.abs(estimates.first_age - ages_N),
        "coverage": (estimates.age_low <= ages_N) & (ages_N <= estimates.age_high),
        "width": estimates.age_high - estimates.age_low,
        "expected_error": estimates.expected_error,
        "accepted": estimates.accepted,
        "corrected": estimates.corrections > 0,
    }
    if scale.ranks:
        columns["rank_accuracy"] = 100 * nearest_ranks(estimates.age, ages_N)
    groups = groups_of(ages_N, estimates.accepted, labels, scale)
    bins = [Group("bin", str(index), rows) for index, rows in enumerate(equal_bins(estimates.expected_error))]
    known = Figures(columns, [*groups, *bins], labels.get("subject"))
    records = [known.record(group) for group in groups]
    for group, record in zip(groups, records, strict=True):
        if not record["hidden"]:
            record["median_absolute_error"] = known.median(group)
    order_N = np.ceil(_CURVE * len(ages_N)).astype(int) - 1
    accepted = next((r for r in records if (r["by"], r["group"]) == ("judgement", "accepted")), None)
    macro_by = "rank" if scale.ranks else "decade"
    return {
        "unit": scale.unit,
        "bootstrap": known.drawn(),
        "smallest_group": SMALLEST,
        "all": records[0],
        "groups": records[1:],
        "macro_mae": known.macro([group for group in groups if group.by == macro_by]),
        "gaps": known.gaps(groups),
        "epsilon_error": None if stds_N is None else _epsilon(estimates, ages_N, stds_N, labels.get("subject")),
        "cumulative_score": {
            "within": list(range(16)),
            "percent": [cumulative_score(estimates.age, ages_N, within) for within in range(16)],
        },
        "risk_coverage": {
            "coverage": _CURVE.tolist(),
            "mae": risk_coverage(errors_N, estimates.expected_error)[order_N].tolist(),
            "mae_oracle": risk_coverage(errors_N, errors_N)[order_N].tolist(),
            "aurc": aurc(errors_N, estimates.expected_error),
            "aurc_oracle": aurc(errors_N, errors_N),
            "accepted": accepted and {"coverage": accepted["rows"] / len(ages_N), "mae": accepted.get("mae")},
        },
        "reliability": {
            "bins": [
                {
                    "rows": len(b.rows),
                    "expected_error": known.figure(b, "expected_error"),
                    "mae": known.figure(b, "mae"),
                }
                for b in bins
            ],
            "calibration_error": calibration_error(errors_N, estimates.expected_error),
        },
    }


def _epsilon(
    estimates: Estimates, ages_N: np.ndarray, stds_N: np.ndarray, subjects_N: np.ndarray | None
) -> dict[str, Any] | None:
    """The ε-error of the rows with a known standard deviation of annotators, the number of these rows, and how many of
    them have a deviation so small that any error gives nearly 1. Returns None if no row has a deviation."""
    rows = np.flatnonzero(stds_N >= 0)
    if not len(rows):
        return None
    columns = {"epsilon_error": epsilon_errors(estimates.age[rows], ages_N[rows], stds_N[rows])}
    everyone = Group("all", "all", np.arange(len(rows)))
    figure = Figures(columns, [everyone], None if subjects_N is None else subjects_N[rows]).figure(
        everyone, "epsilon_error"
    )
    return {**figure, "rows": len(rows), "unsure": int((stds_N[rows] < UNSURE).sum())}
