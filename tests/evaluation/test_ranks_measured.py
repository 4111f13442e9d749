"""Evaluations of ranks instead of ages: their unit, bands, tables and picture."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cilf.age_space import AgeSpace
from cilf.card import Ages, Model, Prompts
from cilf.datasets.faces import FaceSet
from cilf.evaluation.job import evaluate_model
from cilf.evaluation.metrics import BANDS
from cilf.evaluation.plots import figure
from cilf.evaluation.scale import YEARS, scale_of
from cilf.training.run_folder import curves

DECADES = ("1930s", "1940s", "1950s", "1960s", "1970s")


def test_bands_of_years_and_of_ranks():
    assert scale_of(AgeSpace(0, 100)) is YEARS
    assert YEARS.bands is BANDS
    ranks = scale_of(AgeSpace(3, 7, DECADES))
    assert (ranks.unit, ranks.by, ranks.ranks) == ("ranks", "rank", True)
    assert dict(ranks.bands) == {name: (2.5 + place, 3.5 + place) for place, name in enumerate(DECADES)}


def test_many_ranks_share_bands_and_none_is_left_out():
    bands = scale_of(AgeSpace(1, 40, tuple(f"score {score}" for score in range(1, 41)))).bands
    assert len(bands) == 12
    assert next(iter(bands)) == "score 1 to score 4"
    ends = list(bands.values())
    assert (ends[0][0], ends[-1][1]) == (0.5, 40.5)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(ends))


@pytest.fixture
def evaluated(reader, face_file):
    """Evaluation of 50 squares of each rank, with right estimates for ranks 0 and 1 and estimates two ranks too high
    for the others, and of three squares whose label is not a rank."""

    class ReadsRanks(type(reader)):
        ages = Ages(youngest=0, oldest=4, names=DECADES)
        prompts = Prompts(templates=("a photo taken in the {age}",))
        card = SimpleNamespace(name="reader", model=Model(ages=ages, prompts=prompts))

        def __call__(self, images_NHWC):
            estimates = super().__call__(images_NHWC)
            right_N = estimates.age < 3.5  # the estimates are two too high
            return replace(estimates, age=np.where(right_N, estimates.age - 1.75, estimates.age))

    path = face_file([*(rank for rank in range(5) for _ in range(50)), 7, 2.5, 30])
    return evaluate_model(ReadsRanks(), FaceSet(str(path), "val"))


def test_a_record_of_ranks_has_their_names_and_accuracy(evaluated):
    record = evaluated.record
    assert record["unit"] == "ranks"
    assert (record["data"]["evaluated"], record["skipped"]["total"]) == (250, 3)
    assert "7 is not one of the model's ranks" in [row["reason"] for row in record["skipped"]["rows"]]
    bands = {row["group"]: row for row in record["groups"] if row["by"] == "rank"}
    assert list(bands) == list(DECADES)
    assert [bands[name]["rank_accuracy"]["value"] for name in DECADES] == [100, 100, 0, 0, 0]
    assert [bands[name]["mae"]["value"] for name in DECADES] == [0.25, 0.25, 2, 2, 2]
    assert not [row for row in record["groups"] if row["by"] in ("age", "decade")]
    assert record["figures"]["rank_accuracy"] == pytest.approx(40)
    assert record["figures"]["mae 1950s"] == pytest.approx(2)
    assert set(record["figures"]["interval_coverage"]) == {"all", *DECADES}
    assert record["macro_mae"]["value"] == pytest.approx(1.3)


def test_texts_about_ranks_do_not_mention_years(evaluated):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(evaluated.terminal())
    shown = console.export_text()
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "accuracy" in shown
    labels = [
        text
        for axes in figure(evaluated.record, evaluated.estimates).axes
        for text in (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel(), *(t.get_text() for t in axes.texts))
    ]
    for said in (shown, evaluated.markdown(), *labels):
        assert not {"years", "age", "CS(5)"} & set(said.replace(",", " ").split())
    assert "1930s" in evaluated.markdown()
    assert evaluated.picture().startswith(b"\x89PNG")


def test_curves_of_a_training_on_ranks_have_its_bands():
    epochs = [
        {"step": 9 * e, "epoch": e, "mae": 1.0, "mae 1930s": 0.5, "images_per_s": 9.0, "waiting_for_data": 0.1}
        for e in (1, 2)
    ]
    assert curves(epochs, "ranks") != curves(epochs, "years")
    del epochs[0]["mae 1930s"]
    epochs[1]["mae $ 1_9 $"] = 0.5
    assert curves(epochs, "ranks").startswith(b"\x89PNG")
