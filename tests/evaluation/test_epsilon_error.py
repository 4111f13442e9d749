"""ε-error and CS(θ), compared with their equations face by face, and the ε-error of an evaluation."""

import io
import math

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.evaluation.job import evaluate_model
from cilf.evaluation.metrics import cumulative_score, epsilon_errors
from cilf.evaluation.plots import figure


@pytest.mark.parametrize("seed", range(3))
def test_both_equal_their_equations(seed):
    random = np.random.default_rng(seed)
    means, stds = random.uniform(0, 90, 40), random.uniform(0.3, 8, 40)
    estimates = (means + random.normal(0, 5, 40)).astype(np.float32)
    off, within = 0.0, 0
    for x, mean, std in zip(estimates.tolist(), means, stds, strict=True):
        off += (1 - math.exp(-((x - mean) ** 2) / (2 * std**2))) / 40
        within += abs(x - mean) <= 5
    assert epsilon_errors(estimates, means, stds).mean() == pytest.approx(off, rel=1e-9)
    assert cumulative_score(estimates, means) == pytest.approx(100 * within / 40)
    assert 0 < within < 40


def test_annotators_who_agree_fully_cause_no_division_by_zero():
    means, stds = np.array([30.0, 40.0]), np.zeros(2)
    assert epsilon_errors(means, means, stds).tolist() == [0, 0]
    assert epsilon_errors(means + np.array([0, 1]), means, stds).tolist() == [0, 1]


@pytest.mark.parametrize(("stds", "found"), [([1.0, -1.0], "1 of 2"), ([np.nan, np.nan], "2 of 2"), ([], "no faces")])
def test_wrong_deviations_are_refused(stds, found):
    ages = np.full(len(stds), 30.0)
    with pytest.raises(UsageError, match=found):
        epsilon_errors(ages, ages, np.array(stds))


def test_an_evaluation_with_deviations_has_an_epsilon_error(face_file, reader):
    stds = pa.array([2.0, 4.0, 0.4, None, -1.0], pa.float32())
    evaluation = evaluate_model(reader, FaceSet(str(face_file([20, 30, 40, 50, 60], age_std=stds)), "val"))
    # Every estimate is two years too high.
    known = (1 - math.exp(-1 / 2) + 1 - math.exp(-1 / 8) + 1 - math.exp(-12.5)) / 3
    epsilon = evaluation.record["epsilon_error"]
    assert (epsilon["rows"], epsilon["unsure"]) == (3, 1)
    assert epsilon["value"] == evaluation.figures["epsilon_error"] == pytest.approx(known, rel=1e-6)
    assert evaluation.estimates["age_std"].to_pylist()[:2] == [2, 4]
    told = "over 3 rows, 1 of which have a deviation below half a year"
    assert f"| ε-error, {told} | 0.504" in evaluation.markdown()
    shown = Console(file=io.StringIO(), width=80)
    shown.print(evaluation.terminal())
    assert "ε-error 0.504" in shown.file.getvalue()
    assert "CS(5) 100.0 %, ε-error 0.504, 5 faces" in figure(evaluation.record, evaluation.estimates).get_suptitle()
    assert evaluation.figures["mae"] == pytest.approx(2)


def test_the_epsilon_error_has_an_interval_over_subjects(face_file, reader):
    stds, subjects = [1.0] * 20 + [10.0] * 20, [str(row // 4) for row in range(40)]
    path = face_file([30] * 40, age_std=stds, subject=subjects)
    epsilon = evaluate_model(reader, FaceSet(str(path), "val")).record["epsilon_error"]
    mean = (1 - math.exp(-2) + 1 - math.exp(-0.02)) / 2
    assert epsilon["value"] == pytest.approx(mean, rel=1e-6)
    # Ten people, five with each error: two standard errors are 0.27.
    assert epsilon["low"] == pytest.approx(mean - 0.26, abs=0.06)
    assert epsilon["high"] == pytest.approx(mean + 0.26, abs=0.06)


@pytest.mark.parametrize("columns", [{}, {"age_std": pa.nulls(2, pa.float32())}])
def test_without_deviations_there_is_no_epsilon_error(columns, face_file, reader):
    evaluation = evaluate_model(reader, FaceSet(str(face_file([20, 30], **columns)), "val"))
    assert evaluation.record["epsilon_error"] is None
    assert "epsilon_error" not in evaluation.figures
    assert "age_std" not in evaluation.estimates.column_names
    assert "ε" not in evaluation.markdown()
