"""Tables of suites: means, deviations, differences, folds, groups, ranks, leakage."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from cilf.age_space import AgeSpace
from cilf.cli import main
from cilf.datasets.age_groups import AgeGroup
from cilf.errors import UsageError
from cilf.estimator import Estimates
from cilf.evaluation import age_groups
from cilf.evaluation.groups import assess
from cilf.evaluation.measure import measure
from cilf.evaluation.scale import YEARS, Scale, scale_of
from cilf.protocols.leakage import of_one_result
from cilf.storage import locate
from cilf.suite.differences import against, by_band, faces
from cilf.suite.plan import Run, read_suite
from cilf.suite.result import Entry, Result, by_data
from cilf.suite.table import check_tables, write_tables


def measured(
    run: Run, error: float | np.ndarray, scale: Scale = YEARS, people: int = 0, count: int = 80, **more: Any
) -> Result:
    """A finished run whose estimates are all a given number of years too high, for a given number of people if known;
    further fields of its record. The ages are 1 to 80, the ranks cycle through the scale."""
    ages_N = np.arange(1, count + 1, dtype=np.float32)
    if scale.ranks:
        ages_N = ages_N % len(scale.bands)
    age_N = ages_N + np.float32(error)
    faces = {"id": [str(row) for row in range(count)], "age": ages_N, "estimate": age_N}
    if people:
        faces["subject"] = [str(row % people) for row in range(count)]
    estimates = Estimates(
        age=age_N,
        age_low=age_N - 4,
        age_high=age_N + 4,
        first_age=age_N + 1,
        expected_error=np.arange(1, count + 1, dtype=np.float32) / 20,
        corrections=np.zeros(count, np.int32),
        accepted=np.arange(count) < 59,
    )
    record = {
        "data": {"evaluated": count, "split": "val"},
        "figures": measure(estimates, ages_N, scale),
        **assess(estimates, ages_N, {}, None, scale),
        "speed": {"estimation_images_per_second": 50.0 + float(np.mean(error))},
        **more,
    }
    return Result(run, record, {"training": {"parameters": 1234}}, pa.table(faces))


def test_tables_replace_only_tables_of_a_suite(suite, tmp_path, capsys):
    path, output = suite(), tmp_path / "out"
    output.mkdir()
    (output / "faces.csv").write_text("mine")
    assert main(["evaluate", "--suite", str(path), str(output)]) == 2
    assert "faces.csv from something else" in capsys.readouterr().err
    assert (output / "faces.csv").read_text() == "mine"
    (output / "faces.csv").unlink()
    runs = read_suite(path)
    write_tables(runs, [measured(run, 3) for run in runs], locate(str(output)), "the command")
    check_tables(runs, locate(str(output)))


def test_a_table_has_means_and_deviations_over_seeds_the_best_first(suite, tmp_path):
    runs = read_suite(suite(seeds=[0, 1, 2]))
    errors = {("dex", 0): 3, ("dex", 1): 5, ("dex", 2): 7, ("regression", 0): 2, ("regression", 1): 3}
    results = [measured(run, errors[run.system, run.seed]) for run in runs if (run.system, run.seed) in errors]
    assert write_tables(runs, results, locate(str(tmp_path)), "the command") == [
        *("faces.csv", "faces.json", "faces.md", "faces.png")
    ]
    [first, second] = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text()))
    assert first == {
        "system": "regression",
        "seeds": "2",
        "mae": "2.5",
        "mae_std": "0.707",
        "cs5": "100.0",
        "coverage90": "100.0",
        "images_per_s": "52.5",
        "parameters": "1234",
    }
    assert second["system"] == "dex"
    assert (second["mae"], second["mae_std"]) == ("5.0", "2.0")
    assert (second["cs5"], second["coverage90"]) == ("66.67", "33.33")
    record = json.loads((tmp_path / "faces.json").read_text())
    assert [run["seed"] for run in record["systems"][1]["runs"]] == [0, 1, 2]
    assert record["systems"][1]["mae_before_correction"] == pytest.approx(6)
    assert record["systems"][1]["interval_width"] == pytest.approx(8)
    text = (tmp_path / "faces.md").read_text()
    assert "    the command\n" in text
    assert "| dex | 3 | 5.00 ± 2.00 | 6.00 | 66.7 | 33.3 % | 8.0 | 55 | 1,234 |" in text
    assert "With equal budgets, one epoch in batches of 32 images of 32 x 32 pixels" in text
    assert all(name in text for name in ("LRA-GNN", "MCGRL", "CILF-CIAE"))
    assert "nan" not in text.lower()
    assert "Leakage" not in text  # not measured yet
    pixels = np.asarray(Image.open(tmp_path / "faces.png").convert("RGB"))
    for half in np.array_split(pixels, 2, axis=0):
        for panel in np.array_split(half, 2, axis=1):
            assert ((panel.max(axis=2) - panel.min(axis=2)) > 60).sum() > 300


def test_systems_are_told_apart_by_band_and_face_by_face(suite, tmp_path):
    runs = read_suite(suite(seeds=[0, 1]))
    # The reference is off by 2 years; the other by 3 with one seed, and by 4 from the 41st face on with the other.
    later_N = np.where(np.arange(80) < 40, 3, 4)
    off = {("dex", 0): 2, ("dex", 1): 2, ("regression", 0): 3, ("regression", 1): later_N}
    write_tables(runs, [measured(run, off[run.system, run.seed]) for run in runs], locate(str(tmp_path)), "the command")
    lines = (tmp_path / "faces.md").read_text().splitlines()
    headings, dex, regression = (lines[lines.index("## Differences") + step] for step in (4, 6, 7))
    assert headings == "| system | against dex | 0-12 (12) | 13-20 (8) | 21-40 (20) | 41-60 (20) | 61+ (20) |"
    assert dex == "| dex |  | – | – | – | – | – |"  # fewer than 30 faces each
    name, apart = regression.strip("| ").split(" | ")[:2]
    assert name == "regression"
    value, low, high = (float(part.strip("[],")) for part in apart.split())
    assert value == pytest.approx(1.25)
    assert 1.15 < low < 1.25 < high < 1.35


def test_bands_of_enough_faces_have_their_errors(suite):
    runs = read_suite(suite())
    off = {"dex": np.where(np.arange(80) < 60, 1, 3), "regression": 2}  # 80 ages, 1 to 80
    [systems] = by_data([measured(run, off[run.system]) for run in runs]).values()
    bands = {band.name: band for band in by_band(systems, [faces(system) for system in systems])}
    assert {name: band.faces for name, band in bands.items()} == {
        **{"0-12": 12, "13-20": 8, "21-40": 20, "41-60": 20, "61+": 20}
    }
    assert all(mae is None for band in bands.values() for mae in band.mae)

    # Three folds together have enough faces.
    runs = read_suite(suite(data={"faces": [{"path": f"fold_{number}"} for number in range(3)]}))
    [systems] = by_data([measured(run, off[run.system]) for run in runs]).values()
    bands = {band.name: band for band in by_band(systems, [faces(system) for system in systems])}
    assert (bands["41-60"].faces, bands["13-20"].faces) == (60, 24)
    assert [system.name for system in systems] == ["dex", "regression"]
    assert (bands["41-60"].mae, bands["61+"].mae) == ([1, 2], [3, 2])
    assert bands["13-20"].mae == [None, None]


def test_a_difference_is_over_people_and_over_the_same_faces(suite):
    runs = read_suite(suite())
    noise_N = np.repeat(np.random.default_rng(0).uniform(0, 4, 4), 20)  # all 4 people have the same error

    def measured_on(people: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        order_N = np.argsort(np.arange(80) % 4, kind="stable").argsort()
        off = {"dex": 5, "regression": 5 + noise_N[order_N]}
        [systems] = by_data([measured(run, off[run.system], people=people) for run in runs]).values()
        named = {system.name: system for system in systems}
        return faces(named["regression"]), faces(named["dex"])

    of_faces, of_people = (against(*measured_on(people)) for people in (0, 4))
    assert of_faces["value"] == of_people["value"] == pytest.approx(noise_N.mean(), abs=1e-5)
    assert of_people["high"] - of_people["low"] > 2 * (of_faces["high"] - of_faces["low"])
    ours, theirs = measured_on(0)
    fewer = against(ours.iloc[:20], theirs)
    assert fewer["value"] == pytest.approx((ours.error - theirs.error).iloc[:20].mean())
    assert against(ours.iloc[:20], theirs.iloc[20:]) is None


def test_a_face_counts_once_however_many_are_in_its_photograph_and_folds_it_is_in(suite):
    [first, *_] = runs = read_suite(suite(seeds=[0, 1], systems={"dex": "dex.yaml"}))
    pairs = [replace(measured(run, 2), estimates=pa.table({"id": 40 * ["a", "b"], "age": 80 * [30.0],
             "estimate": 80 * [30.0 + run.seed]})) for run in runs]  # fmt: skip
    table = faces(Entry(first.system, pairs))
    assert len(table) == 80
    assert set(table.error) == {0.5}  # over both seeds
    apart = against(table.assign(error=np.arange(80) % 2), table.assign(error=0.0))
    assert (apart["low"], apart["high"]) == (0, 1)  # two photographs are two units to draw from


def test_missing_results_are_reported_and_small_folds_still_give_tables(folds, tmp_path):
    """The first system's first fold has failed; a fold of five faces has fewer faces than there are bins."""
    done = [measured(run, 2, count=5 if run.fold == 1 else 80) for run in folds if run.place != "faces/fold-0/dex-0"]
    write_tables(folds, done, locate(str(tmp_path)), "the command")
    text = (tmp_path / "faces.md").read_text()
    assert "Not finished, and not included in these means: faces/fold-0/dex-0." in text
    assert "Measured on the 165 faces of split=val in 3 folds" in text
    assert "| system | against dex |" in text
    assert json.loads((tmp_path / "faces.json").read_text())["missing"] == ["faces/fold-0/dex-0"]


def test_ranks_have_tables_and_a_picture_of_their_own(suite, tmp_path):
    ranks, off = scale_of(AgeSpace(0, 1, ("1930s", "1940s"))), {"dex": 0.25, "regression": 1}
    ages = {"youngest": 0, "oldest": 1, "names": ["1930s", "1940s"]}
    prompts = {"templates": ["a photo taken in the {age}"]}
    systems = {name: {"model": {"system": {"system": name}, "ages": ages, "prompts": prompts}} for name in off}
    runs = read_suite(suite(systems=systems))
    results = [measured(run, off[run.system], ranks) for run in runs]
    write_tables(runs, results, locate(str(tmp_path)), "the command")
    first, second = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text()))
    assert (first["system"], first["mae"], first["rank_accuracy"]) == ("dex", "0.25", "100.0")
    assert (second["system"], second["rank_accuracy"]) == ("regression", "0.0")
    ours = (tmp_path / "faces.md").read_text().partition("## Figures from papers")[0]
    assert "years" not in ours
    assert "| system | against dex | 1930s (40) | 1940s (40) |" in ours
    assert "| regression | +0.75 [+0.75, +0.75] | 1.00 | 1.00 |" in ours
    assert (tmp_path / "faces.png").read_bytes().startswith(b"\x89PNG")


def test_own_backbones_and_unequal_budgets_are_stated(suite, tmp_path):
    mivolo = {"model": {"system": {"system": "mivolo", "layers": [1, 1, 1, 1], "widths": [8, 16], "heads": [2, 2]}}}
    runs = read_suite(suite(systems={"mivolo": mivolo, "dex": "dex.yaml", "long": {"epochs": 9}}))
    results = [measured(run, 1) for run in runs]
    alike = [result for result in results if result.run.system != "long"]
    for some, said in ((results, "With different budgets"), (alike, "With equal budgets")):
        write_tables(runs, some, locate(str(tmp_path)), "the command")
        text = (tmp_path / "faces.md").read_text()
        assert said in text
        assert "| mivolo (own backbone) | 1 | 1.00 |" in text
        assert "dex (own" not in text


def test_a_list_is_the_folds_of_one_data_set(suite):
    folds = [{"path": f"fold_{number}.parquet", "choose": "test"} for number in range(3)]
    runs = read_suite(suite(data={"faces": folds}, systems={"dex": "dex.yaml"}, seeds=[0, 7]))
    assert [run.place for run in runs] == [f"faces/fold-{fold}/dex-{seed}" for seed in (0, 7) for fold in (0, 1, 2)]
    assert [run.recipe.data[0].path for run in runs[:3]] == [fold["path"] for fold in folds]
    assert len({run.recipe.name for run in runs}) == 6
    with pytest.raises(UsageError, match="at least 2"):
        read_suite(suite(data={"faces": folds[:1]}))


@pytest.fixture
def folds(suite):
    """The runs of two systems on three folds."""
    return read_suite(suite(data={"faces": [{"path": f"fold_{number}"} for number in range(3)]}))


def by_group(run: Run, right: int, next_to: int) -> Result:
    """A finished run that puts given numbers of 40 faces into their age group and the next, and the others far off."""
    groups = [AgeGroup(0, 9), AgeGroup(10, 19), AgeGroup(20, None)]
    age_N = np.array([5] * right + [15] * next_to + [45] * (40 - right - next_to), np.float32)
    nothing = np.zeros(40, np.float32)
    estimates = Estimates(age_N, age_N - 4, age_N + 4, age_N, nothing, nothing.astype(np.int32), nothing < 1)
    people = [None, *(str(row) for row in range(39))]
    leak = of_one_result(people, learned=["3", "4", "99"], others=None)
    assessed = age_groups.assess(estimates, groups, {"age_group": np.array(["0-9"] * 40, object)}, 100)
    names = ("accuracy", "one_off", "accuracy_before_correction")
    record = {
        "data": {"evaluated": 40, "split": "test"},
        "leakage": leak,
        "figures": {name: assessed["all"][name]["value"] for name in names},
        **assessed,
        "speed": {"estimation_images_per_second": 50.0},
    }
    return Result(run, record, {"training": {"parameters": 1234}}, pa.table({}))


def test_folds_of_age_groups_give_mean_and_deviation(folds, tmp_path):
    found = {"dex": [(10, 10), (20, 10), (30, 10)], "regression": [(30, 0), (30, 4), (30, 8)]}
    results = [by_group(run, *found[run.system][run.fold]) for run in folds]
    write_tables(folds, results, locate(str(tmp_path)), "the command")
    first, second = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text()))
    # 75, 75 and 75 % of 40 are right; 75, 85 and 95 % at most one off.
    assert (first["system"], first["folds"], first["seeds"]) == ("regression", "3", "1")
    assert (first["accuracy"], first["accuracy_std"]) == ("75.0", "0.0")
    assert (first["one_off"], first["one_off_std"]) == ("85.0", "10.0")
    # 25, 50 and 75 %; 50, 75 and 100 %.
    assert (second["accuracy"], second["accuracy_std"]) == ("50.0", "25.0")
    assert (second["one_off"], second["one_off_std"]) == ("75.0", "25.0")
    text = (tmp_path / "faces.md").read_text()
    assert "| dex | 3 x 1 | 50.0 ± 25.0 | 75.0 ± 25.0 | 50.0 | 50 | 1,234 |" in text
    assert "means over 3 folds, one seed (0). Measured on the 120 faces of split=test in 3 folds" in text
    assert "MAE" not in text.partition("## Figures from papers")[0]
    told = (
        "Leakage: 6 of 117 tested rows (5.1%) show a person who is also in the training data. "
        "For 3 more, the person is unknown."
    )
    assert told in text
    assert json.loads((tmp_path / "faces.json").read_text())["leakage"] == told
    pixels = np.asarray(Image.open(tmp_path / "faces.png").convert("RGB"))
    for panel in np.array_split(pixels, 2, axis=1):
        assert ((panel.max(axis=2).astype(int) - panel.min(axis=2)) > 60).sum() > 300


def test_seeds_are_averaged_before_the_deviation_over_folds(suite, tmp_path):
    data = {"faces": [{"path": "fold_0"}, {"path": "fold_1"}]}
    runs = read_suite(suite(data=data, systems={"dex": "dex.yaml"}, seeds=[0, 1]))
    errors = {(0, 0): 1, (0, 1): 3, (1, 0): 6, (1, 1): 8}  # 2 and 7 by fold
    write_tables(
        runs, [measured(run, errors[run.fold, run.seed]) for run in runs], locate(str(tmp_path)), "the command"
    )
    [row] = csv.DictReader(io.StringIO((tmp_path / "faces.csv").read_text()))
    assert (row["mae"], row["mae_std"], row["seeds"], row["folds"]) == ("4.5", "3.536", "2", "2")


def test_the_leakage_of_one_data_set_is_its_own_words(suite, tmp_path):
    leak = of_one_result(["a", None], learned=["a"], others=None)
    runs = read_suite(suite())
    write_tables(runs, [measured(run, 1, leakage=leak) for run in runs], locate(str(tmp_path)), "the command")
    assert leak["told"].startswith("Leakage: 1 of 1 tested rows")
    assert leak["told"] in (tmp_path / "faces.md").read_text()


def test_folds_of_ages_and_of_groups_make_no_table(folds, tmp_path):
    results = [by_group(folds[0], 1, 1), measured(folds[1], 1)]
    with pytest.raises(UsageError, match="they need separate tables"):
        write_tables(folds, results, locate(str(tmp_path)), "the command")
