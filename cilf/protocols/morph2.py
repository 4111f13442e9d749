"""MORPH-II's four settings, called I to IV or A to D.

    I    5,492 photographs of Caucasians, 80 % and 20 % at random, five draws
    II   three sets of 7,000, as many Black as White faces and three men to a woman: train on one, test on the others
    III  five folds of all 55,134 at random (RS): nearly every tested person is also in the training data
    IV   five folds of all by subject (SE): no tested person is in the training data

Published lists are used if given; otherwise rows are drawn at random. The published lists of IV put some people into
two folds: all photographs of such a person go to the fold that has most of them.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from cilf.errors import UsageError
from cilf.protocols.folds import DRAWS, TEST_SHARE, Fold, Split, against, crossed, drawn, known_subjects, rows_of
from cilf.protocols.lists import Lists

FOLDS = 5
ALL = 55_134
CAUCASIANS = 5_492
SETS, SET_SIZE = 3, 7_000
_MEN = 0.75

_RACES = {"B": "Black", "BLACK": "Black", "W": "White", "WHITE": "White", "CAUCASIAN": "White"}


def setting_i(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes five draws of 80 % and 20 % of 5,492 photographs of Caucasians.

    Raises:
        UsageError: the table has no races, and there are no lists.
    """
    if lists is not None:
        return lists.pairs(table)
    white = np.flatnonzero(_races(table) == "White")
    folds = []
    for number in range(DRAWS):
        chosen = np.random.default_rng([seed, number]).permutation(white)[:CAUCASIANS]
        folds.append(drawn(f"draw-{number}", np.sort(chosen), rows_of(table), TEST_SHARE, seed + number))
    used = min(CAUCASIANS, len(white))
    return Split(folds, [_DRAWN, *against([("photographs of Caucasians", used, CAUCASIANS)])])


def setting_ii(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes three folds: each trains on one of three sets of 7,000 and tests on the other two.

    Raises:
        UsageError: the table has no races or no sexes, and there are no lists.
    """
    if lists is not None:
        return _one_of(lists.sets(table), lists.notes(table))
    races_N = _races(table)
    sexes_N = np.array(table["sex"].to_pylist(), object)
    random = np.random.default_rng(seed)
    cells = {
        (race, sex): random.permutation(np.flatnonzero((races_N == race) & (sexes_N == sex)))
        for race in ("Black", "White")
        for sex in ("male", "female")
    }
    share = {"male": _MEN / 2, "female": (1 - _MEN) / 2}
    # The rarest combination of race and sex limits the size, so that the sets stay balanced.
    size = min(SET_SIZE, *(len(rows) // SETS / share[sex] for (_, sex), rows in cells.items()))
    sets: list[list[np.ndarray]] = [[] for _ in range(SETS)]
    for (_, sex), rows in cells.items():
        each = int(size * share[sex])
        for number, chosen in enumerate(sets):
            chosen.append(rows[number * each : (number + 1) * each])
    made = {number: np.sort(np.concatenate(parts)) for number, parts in enumerate(sets)}
    return _one_of(made, [_DRAWN, *against([("photographs in a set", len(made[0]), SET_SIZE)])])


def setting_iii(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes five random folds of all rows (RS)."""
    if lists is not None:
        return _crossed(lists.sets(table), lists.notes(table))
    folds = crossed(rows_of(table), rows_of(table), FOLDS, seed)
    return Split(folds, [_DRAWN, *against([("photographs", len(table), ALL)])])


def setting_iv(table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes five folds of all rows by subject (SE).

    Raises:
        UsageError: a row has no subject.
    """
    subjects_N = known_subjects(table, "morph2-iv")
    if lists is None:
        folds = crossed(rows_of(table), subjects_N, FOLDS, seed)
        return Split(folds, [_DRAWN, *against([("photographs", len(table), ALL)])])
    sets = lists.sets(table)
    tally: dict[str, Counter[int]] = {}
    for number, rows in sets.items():
        for subject in subjects_N[rows]:
            tally.setdefault(subject, Counter())[number] += 1
    home = {subject: max(sorted(counts), key=counts.__getitem__) for subject, counts in tally.items()}
    whole = {
        n: np.concatenate([rows[[home[s] == n for s in subjects_N[rows]]] for rows in sets.values()]) for n in sets
    }
    moved = sum(len(np.setdiff1d(rows, whole[number])) for number, rows in sets.items())
    torn = sum(len(counts) > 1 for counts in tally.values())
    note = f"the lists put {torn:,} people into two folds or more: {moved:,} photographs were moved to undo this"
    return _crossed(whole, [*lists.notes(table), *([note] if torn else [])])


_DRAWN = "drawn at random by --seed: to use the published lists instead, pass them with --lists"


def _one_of(sets: dict[int, np.ndarray], notes: list[str]) -> Split:
    """Makes a fold for each set, which trains on it and tests on all others."""
    names = sorted(sets)
    others = {n: np.sort(np.concatenate([sets[m] for m in names if m != n] or [sets[n][:0]])) for n in names}
    return Split([Fold(f"set-{n}", sets[n], others[n]) for n in names], notes)


def _crossed(sets: dict[int, np.ndarray], notes: list[str]) -> Split:
    """Makes a fold for each set, which trains on all others and tests on it."""
    names = sorted(sets)
    others = {n: np.sort(np.concatenate([sets[m] for m in names if m != n] or [sets[n][:0]])) for n in names}
    return Split([Fold(f"fold-{n}", others[n], sets[n]) for n in names], notes)


def _races(table: pa.Table) -> np.ndarray:
    """Black, White or another, object [N].

    Raises:
        UsageError: the table has no race.
    """
    races = [None if race is None else _RACES.get(race.strip().upper(), race) for race in table["race"].to_pylist()]
    if not any(races):
        raise UsageError(
            "the table has no race, by which this setting selects rows: run `cilf data check` on a folder with "
            "morph_2008_nonCommercial.csv, or pass the published lists with --lists"
        )
    return np.array(races, object)
