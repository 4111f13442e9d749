from __future__ import annotations

import json

import numpy as np
import pytest

from cilf.evaluation import tables
from cilf.evaluation.groups import assess, groups_of


def of(assessed, by):
    return {row["group"]: row for row in assessed["groups"] if row["by"] == by}


@pytest.fixture
def people():
    """300 ages; estimates are 2 years too high for women and 4 years too low for men; 19 rows have a rare race."""
    ages = np.tile(np.arange(5, 65), 5).astype(np.float32)
    gender = np.array(["female", "male"] * 150, object)
    race = np.array(["White"] * 140 + ["Black"] * 140 + ["rare"] * 19 + [None], object)
    errors = np.where(gender == "female", 2.0, -4.0)
    return ages, errors, {"gender": gender, "race": race}


def test_every_group_has_its_own_figures(people, estimates_with):
    ages, errors, labels = people
    assessed = assess(estimates_with(ages, errors), ages, labels)
    gender = of(assessed, "gender")
    assert gender["female"]["rows"] == gender["male"]["rows"] == 150
    assert gender["female"]["mae"] == pytest.approx({"value": 2, "low": 2, "high": 2}, abs=1e-5)
    assert gender["male"]["bias"]["value"] == pytest.approx(-4, abs=1e-5)
    assert gender["male"]["median_absolute_error"]["value"] == pytest.approx(4, abs=1e-5)
    assert gender["male"]["cs5"]["value"] == 100
    assert gender["male"]["coverage"]["value"] == 1
    assert gender["male"]["width"]["value"] == pytest.approx(16)
    assert gender["male"]["mae_before_correction"]["value"] == pytest.approx(3, abs=1e-5)
    assert assessed["gaps"]["gender"]["value"] == pytest.approx(2, abs=1e-5)
    assert (assessed["gaps"]["gender"]["highest"], assessed["gaps"]["gender"]["lowest"]) == ("male", "female")
    assert list(of(assessed, "age")) == ["0-12", "13-20", "21-40", "41-60", "61+"]
    everyone = assessed["all"]
    assert everyone["mae"]["value"] == pytest.approx(3, abs=1e-5)
    assert 2.8 < everyone["mae"]["low"] < 3 < everyone["mae"]["high"] < 3.2


def test_small_groups_are_named_without_figures(people, estimates_with):
    ages, errors, labels = people
    assessed = assess(estimates_with(ages, errors), ages, labels)
    race = of(assessed, "race")
    assert race["rare"] == {"by": "race", "group": "rare", "rows": 19, "hidden": True}
    assert set(race) == {"White", "Black", "rare"}  # a missing value is not a group
    assert "rare" not in assessed["gaps"]["race"].values()
    assert of(assessed, "age")["61+"]["hidden"]  # four ages, twenty rows
    assert assessed["macro_mae"]["decades"] == ["10-19", "20-29", "30-39", "40-49", "50-59"]


def test_decades_have_equal_weights(estimates_with):
    ages = np.array([25.0] * 300 + [35.0] * 30, np.float32)
    errors = np.array([1.0] * 300 + [11.0] * 30)
    assessed = assess(estimates_with(ages, errors), ages, {})
    assert assessed["macro_mae"]["value"] == pytest.approx(6, abs=1e-4)
    assert assessed["all"]["mae"]["value"] == pytest.approx(630 / 330, abs=1e-4)
    assert assessed["gaps"] == {}


def test_a_mean_over_decades_counts_them_and_needs_two(estimates_with):
    ages = np.array([25.0] * 300 + [35.0] * 30 + [45.0] * 5, np.float32)
    macro = assess(estimates_with(ages, np.ones(335)), ages, {})["macro_mae"]
    assert (macro["decades"], macro["of"]) == (["20-29", "30-39"], 3)
    assert assess(estimates_with(ages[:300], np.ones(300)), ages[:300], {})["macro_mae"] is None
    few = np.concatenate([ages[:300], ages[330:]])
    assert assess(estimates_with(few, np.ones(305)), few, {})["macro_mae"] is None


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (2, "2 of 2 decades, with equal weights"),
        (3, "2 of 3 decades (the others have fewer than 30 rows), with equal weights"),
    ],
)
def test_the_description_of_a_mean_over_decades(of, words):
    record = {"macro_mae": {"decades": ["20-29", "30-39"], "of": of}, "smallest_group": 30}
    assert tables.over_groups(record) == words


def test_intervals_are_over_subjects_if_they_are_known(estimates_with):
    random = np.random.default_rng(0)
    subject = np.repeat([f"s{n}" for n in range(40)], 20).astype(object)
    errors = np.repeat(random.normal(0, 5, 40), 20)
    ages = np.full(800, 30, np.float32)
    rows = assess(estimates_with(ages, errors), ages, {})
    people = assess(estimates_with(ages, errors), ages, {"subject": subject})
    assert (rows["bootstrap"]["over"], rows["bootstrap"]["units"]) == ("rows", 800)
    assert (people["bootstrap"]["over"], people["bootstrap"]["units"]) == ("subjects", 40)

    def width(assessed):
        return assessed["all"]["mae"]["high"] - assessed["all"]["mae"]["low"]

    assert width(people) > 3 * width(rows)
    subject[:20] = None  # rows without a subject are one unit each
    assert assess(estimates_with(ages, errors), ages, {"subject": subject})["bootstrap"]["units"] == 39 + 20


def test_judgement_and_curves(people, estimates_with):
    ages, errors, labels = people
    expected = np.where(errors == 2, 1.0, 3.0).astype(np.float32)
    accepted = errors == 2
    assessed = assess(estimates_with(ages, errors, expected_error=expected, accepted=accepted), ages, labels)
    risk = assessed["risk_coverage"]
    assert risk["mae"][49] == pytest.approx(2, abs=1e-5)
    assert risk["mae"][-1] == pytest.approx(3, abs=1e-5)
    assert risk["aurc"] == pytest.approx(risk["aurc_oracle"])
    assert risk["accepted"]["coverage"] == 0.5
    assert risk["accepted"]["mae"]["value"] == pytest.approx(2, abs=1e-5)
    assert assessed["reliability"]["calibration_error"] == pytest.approx(1, abs=1e-5)
    assert [b["expected_error"]["value"] for b in assessed["reliability"]["bins"]] == [1] * 5 + [3] * 5
    within = assessed["cumulative_score"]
    assert within["within"] == list(range(16))
    assert within["percent"] == [0, 0, 50, 50] + [100] * 12


@pytest.mark.parametrize("rows", [1, 2, 29])
def test_few_rows_still_give_strict_json(rows, estimates_with):
    ages = np.linspace(0, 90, rows).astype(np.float32)
    assessed = assess(estimates_with(ages, np.ones(rows)), ages, {"race": np.array(["x"] * rows, object)})
    assert json.loads(json.dumps(assessed, allow_nan=False))["all"]["mae"]["value"] == pytest.approx(1, abs=1e-5)
    assert assessed["macro_mae"] is None
    assert all(row["hidden"] for row in assessed["groups"])


def test_no_group_is_empty():
    groups = groups_of(np.array([5.0, 5.0]), np.array([True, True]), {})
    assert [(group.by, group.name) for group in groups] == [
        ("all", "all"),
        ("age", "0-12"),
        ("decade", "0-9"),
        ("judgement", "accepted"),
    ]
