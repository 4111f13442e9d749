"""Every protocol on small tables: sizes, the people in each part, and that the same seed gives the same split."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from made_tables import made, morph

from cilf.config import ProtocolName
from cilf.errors import UsageError
from cilf.protocols.folds import Fold, crossed, drawn, subjects_of
from cilf.protocols.known import PROTOCOLS, make_split
from cilf.protocols.leakage import leakage

GROUPS = ["fold_0", "fold_1", "fold_2", "fold_3", "fold_4"]


def _tables():
    people = [str(row // 3) for row in range(60)]
    parts = ["train"] * 30 + ["val"] * 12 + ["test"] * 18
    return {
        "adience": made("adience", 60, split=[GROUPS[row % 5] for row in range(60)], subject=people),
        "cacd": made("cacd", 60, split=parts, subject=people, age=[20.0] * 60),
        "clap2016": made("clap2016", 60, split=parts, age=[20.0] * 60, age_std=[2.0] * 59 + [0.1]),
        "fgnet": made("fgnet", 60, subject=people, age=[5.0] * 60),
        "morph2": morph(960),
        "utkface": made("utkface", 100, age=[float(row) for row in range(1, 101)]),
    }


TABLES = _tables()
_ANY = {"random-80-20": "fgnet", "subjects-80-20": "fgnet"}


def _table(protocol):
    sets = PROTOCOLS[protocol].datasets
    return TABLES[_ANY.get(protocol) or next(name for name in sets if name in TABLES)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_protocol(protocol):
    table = _table(protocol)
    split, again = make_split(protocol, table, 7), make_split(protocol, table, 7)
    assert len({fold.name for fold in split.folds}) == len(split.folds)
    for fold, same in zip(split.folds, again.folds, strict=True):
        rows = np.concatenate([fold.train, fold.val, fold.test])
        assert len(np.unique(rows)) == len(rows)
        assert rows.min() >= 0
        assert rows.max() < len(table)
        for part in ("train", "val", "test"):
            assert np.array_equal(getattr(fold, part), getattr(same, part))
            assert (np.diff(getattr(fold, part)) > 0).all()


@pytest.mark.parametrize("protocol", ["random-80-20", "subjects-80-20", "morph2-i", "morph2-iii", "morph2-iv"])
def test_another_seed_draws_another_split(protocol):
    one, other = (make_split(protocol, _table(protocol), seed).folds[0].test for seed in (0, 100))
    assert not np.array_equal(one, other)


def test_random_draws_differ_and_hold_a_fifth():
    folds = make_split("random-80-20", TABLES["fgnet"], 0).folds
    assert [len(fold.test) for fold in folds] == [12] * 5
    assert len({tuple(fold.test) for fold in folds}) == 5
    assert all(leakage(fold, subjects_of(TABLES["fgnet"])).shared > 0 for fold in folds)


@pytest.mark.parametrize("protocol", ["subjects-80-20", "morph2-iv", "fgnet-lopo"])
def test_people_are_kept_apart(protocol):
    table = _table(protocol)
    subjects_N = subjects_of(table)
    folds = make_split(protocol, table, 0).folds
    assert all(leakage(fold, subjects_N).shared == 0 for fold in folds)
    for fold in folds:
        assert not set(subjects_N[fold.train]) & set(subjects_N[fold.test])


def test_fgnet_leaves_out_everybody_once():
    split = make_split("fgnet-lopo", TABLES["fgnet"], 0)
    assert [fold.name for fold in split.folds] == sorted(str(person) for person in range(20))
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in split.folds])), np.arange(60))
    assert all(len(fold.train) == 57 for fold in split.folds)
    assert split.notes == [
        "60 photographs, where the literature has 1,002: figures are not quite comparable",
        "20 people, where the literature has 82: figures are not quite comparable",
    ]


def test_morph_i_draws_only_caucasians():
    table = TABLES["morph2"]
    split = make_split("morph2-i", table, 0)
    races = np.array(table["race"].to_pylist())
    assert len(split.folds) == 5
    for fold in split.folds:
        assert set(races[np.concatenate([fold.train, fold.test])]) == {"W"}
        assert (len(fold.train), len(fold.test)) == (256, 64)
    assert "320 photographs of Caucasians, where the literature has 5,492" in split.notes[1]


def test_morph_ii_learns_from_one_balanced_set_and_tests_on_two():
    table = TABLES["morph2"]
    folds = make_split("morph2-ii", table, 0).folds
    races, sexes = (np.array(table[name].to_pylist()) for name in ("race", "sex"))
    assert [fold.name for fold in folds] == ["set-0", "set-1", "set-2"]
    trained = np.concatenate([fold.train for fold in folds])
    assert len(np.unique(trained)) == len(trained)
    for fold in folds:
        assert (races[fold.train] == "B").sum() == (races[fold.train] == "W").sum()
        men, women = ((sexes[fold.train] == sex).sum() for sex in ("male", "female"))
        assert men == 3 * women
        assert np.array_equal(np.sort(np.concatenate([fold.train, fold.test])), np.sort(trained))


def test_morph_iii_is_random_and_leaks_nearly_everybody():
    table = TABLES["morph2"]
    folds = make_split("morph2-iii", table, 0).folds
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(960))
    assert {len(fold.test) for fold in folds} == {192}
    shares = [leakage(fold, subjects_of(table)).share for fold in folds]
    assert min(shares) > 0.9


def test_cacd_learns_from_many_or_from_clean_rows():
    many, clean = make_split("cacd", TABLES["cacd"], 0).folds
    assert [many.name, clean.name] == ["train", "val"]
    assert (len(many.train), len(many.val), len(many.test)) == (30, 12, 18)
    assert np.array_equal(clean.train, many.val)
    assert np.array_equal(clean.test, many.test)
    assert not len(clean.val)


def test_adience_has_its_authors_folds():
    folds = make_split("adience", TABLES["adience"], 0).folds
    assert [fold.name for fold in folds] == GROUPS
    assert folds[2].test.tolist() == list(range(2, 60, 5))
    assert all(len(fold.train) == 48 for fold in folds)


def test_utkface_of_adults_and_of_all():
    adults, everybody = (make_split(name, TABLES["utkface"], 0).folds[0] for name in ("utkface-21-60", "utkface-all"))
    ages = TABLES["utkface"]["age"].to_numpy()
    rows = np.concatenate([adults.train, adults.test])
    assert (ages[rows].min(), ages[rows].max(), len(rows), len(adults.test)) == (21, 60, 40, 8)
    assert (len(everybody.train), len(everybody.test)) == (80, 20)
    assert leakage(everybody, subjects_of(TABLES["utkface"])).share is None


def test_clap_warns_of_narrow_and_missing_deviations():
    table = TABLES["clap2016"]
    (fold,) = make_split("clap", table, 0).folds
    assert (len(fold.train), len(fold.val), len(fold.test)) == (30, 12, 18)
    notes = make_split("clap", table, 0).notes
    assert any(note.startswith("1 tested faces have a deviation below half a year") for note in notes)
    nameless = table.set_column(table.column_names.index("age_std"), "age_std", [[None] * 60])
    assert any("18 tested faces have no standard deviation" in note for note in make_split("clap", nameless, 0).notes)


def test_drawn_keeps_groups_whole_and_comes_near_the_share():
    groups_N = np.array(["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"] * 10)
    for seed in range(20):
        fold = drawn("x", np.arange(20), groups_N, 0.2, seed)
        assert not set(groups_N[fold.train]) & set(groups_N[fold.test])


def test_crossed_evens_out_groups_of_different_sizes():
    groups_N = np.repeat(np.arange(6), [6, 5, 4, 3, 2, 1])
    folds = crossed(np.arange(21), groups_N, 3, 0)
    assert [len(fold.test) for fold in folds] == [7, 7, 7]


@pytest.mark.parametrize(
    ("protocol", "table", "message"),
    [
        ("morph2-i", TABLES["fgnet"], "is a protocol of morph2, but the table contains fgnet"),
        ("morph2-i", made("morph2", 20, subject=["1"] * 20), "has no race"),
        ("subjects-80-20", TABLES["utkface"], "100 of 100 rows have no subject"),
        ("morph2-iv", made("morph2", 20), "20 of 20 rows have no subject"),
        ("cacd", TABLES["cacd"].slice(0, 30), "no rows with split val, test (splits there: train)"),
        ("adience", TABLES["adience"].slice(0, 2), "no rows with split fold_2, fold_3, fold_4"),
        ("utkface-21-60", made("utkface", 5, age=[1.0] * 5), "has no rows to train on"),
        ("random-80-20", made("utkface", 0), "the table contains no rows"),
    ],
)
def test_tables_that_do_not_fit(protocol, table, message):
    with pytest.raises(UsageError) as raised:
        make_split(protocol, table, 0)
    assert message in str(raised.value)


def test_a_row_in_two_parts_is_an_error():
    with pytest.raises(ValueError, match="a row is in two parts"):
        Fold("x", np.array([0, 1]), np.array([1]))


def test_the_command_line_knows_every_protocol():
    assert get_args(ProtocolName) == tuple(PROTOCOLS)
