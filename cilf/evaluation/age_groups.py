"""Accuracy of estimates by age group, for data that has age groups instead of ages: Adience, FairFace, FACES.

Sources: accuracy and 1-off, the share of faces whose estimate is at most one group from the true one (Eidinger, Enbar
& Hassner 2014). Groups may leave ages out, as Adience's leave out 3 and 35; such an age belongs to the group with the
nearest bound, or to the younger group if two are equally near. The measured estimate is the one that labelling writes,
not the most probable group of the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cilf.datasets.age_groups import AgeGroup
from cilf.estimator import Estimates
from cilf.evaluation.figures import SMALLEST, Figures, Group, groups_by_judgement, groups_of_people


def group_of(ages_N: np.ndarray, groups: Sequence[AgeGroup]) -> np.ndarray:
    """Number of the group nearest to each age in years, [N] -> int64 [N]."""
    low_G = np.array([group.low for group in groups])
    high_G = np.array([math.inf if group.high is None else group.high for group in groups])
    away_NG = np.maximum(np.maximum(low_G - ages_N[:, None], ages_N[:, None] - high_G), 0)
    return away_NG.argmin(axis=1)


def true_groups(labels: Mapping[str, np.ndarray], groups: Sequence[AgeGroup]) -> np.ndarray:
    """Numbers, int64 [N], of the groups that the rows name in `age_group`."""
    number = {group.name: place for place, group in enumerate(groups)}
    return np.array([number[name] for name in labels["age_group"]], np.int64)


def covered(
    low_N: np.ndarray, high_N: np.ndarray, groups: Sequence[AgeGroup], true_N: np.ndarray, oldest: int
) -> np.ndarray:
    """Share of the whole years of each face's group that lie inside its interval, float64 [N]: the coverage, if all
    ages of the group are equally likely.

    Args:
        low_N, high_N: ends of the intervals, years.
        true_N: int, the number of each face's group.
        oldest: last year of a group that has no upper bound.
    """
    ends = [(group.low, max(group.low, oldest) if group.high is None else group.high) for group in groups]
    first_N, last_N = np.array(ends)[true_N].T
    held_N = np.minimum(np.floor(high_N), last_N) - np.maximum(np.ceil(low_N), first_N) + 1
    return held_N.clip(min=0) / (last_N - first_N + 1)


def assess(
    estimates: Estimates, groups: Sequence[AgeGroup], labels: Mapping[str, np.ndarray], oldest: int
) -> dict[str, Any]:
    """All figures of the estimates of N >= 1 faces, as strict JSON types.

    Accuracies are in per cent, widths and errors in years, shares in 0..1; intervals are as in
    cilf.evaluation.groups.assess.

    Args:
        groups: age groups, the youngest first.
        labels: `age_group` of the rows, and `gender`, `race` and `subject` if known, as in
            cilf.datasets.faces.Faces.
        oldest: the model's oldest age, years.
    """
    true_N, chosen_N = true_groups(labels, groups), group_of(estimates.age, groups)
    off_N = np.abs(chosen_N - true_N)
    columns = {
        "accuracy": 100 * (off_N == 0),
        "one_off": 100 * (off_N <= 1),
        "accuracy_before_correction": 100 * (group_of(estimates.first_age, groups) == true_N),
        "expected_error": estimates.expected_error,
        "coverage": covered(estimates.age_low, estimates.age_high, groups, true_N, oldest),
        "width": estimates.age_high - estimates.age_low,
        "accepted": estimates.accepted,
        "corrected": estimates.corrections > 0,
    }
    known = [
        Group("all", "all", np.arange(len(true_N))),
        *(Group("age", group.name, np.flatnonzero(true_N == place)) for place, group in enumerate(groups)),
        *groups_of_people(labels),
        *groups_by_judgement(estimates.accepted),
    ]
    known = [group for group in known if len(group.rows)]
    figures = Figures(columns, known, labels.get("subject"))
    records = [figures.record(group) for group in known]
    confusion_GG = np.zeros((len(groups), len(groups)), np.int64)
    np.add.at(confusion_GG, (true_N, chosen_N), 1)
    return {
        "bootstrap": figures.drawn(),
        "smallest_group": SMALLEST,
        "age_groups": [{"name": group.name, **group._asdict()} for group in groups],
        "all": records[0],
        "groups": records[1:],
        "gaps": figures.gaps(known),
        "confusion": confusion_GG.tolist(),
    }
