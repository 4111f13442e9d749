"""`cilf evaluate --epsilon-sweep`: effect and cost of correction as ε falls."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from synthetic_rows import rows

from cilf import cli
from cilf.age_space import AgeSpace
from cilf.card import Images
from cilf.evaluation.epsilon_sweep import SHARES, sweep
from cilf.models.corrector_fit import Plan, fit_corrector


@pytest.fixture(scope="module")
def fitted():
    return fit_corrector(AgeSpace(), rows(2000, 2, second=True, honest=False), Plan(share=0.3))


@pytest.fixture(scope="module")
def faces():
    return rows(4000, 7, second=True, honest=False)


@pytest.fixture(scope="module")
def swept(fitted, faces):
    return sweep(fitted, faces.look, faces.low_N.numpy())


def test_a_lower_epsilon_gives_more_second_looks(swept):
    assert [row.epsilon for row in swept[:-1]] == sorted((row.epsilon for row in swept[:-1]), reverse=True)
    fired = [row.fired for row in swept]
    assert fired == sorted(fired)
    assert (fired[0], swept[0].settled, swept[0].fired_mae) == (0, None, None)
    last = swept[-1]
    assert (last.epsilon, last.fired, last.settled) == (None, 1, 0)
    # The requested shares, except for ties of judged errors.
    others = [row.fired for row in swept if not row.own]
    assert all(min(abs(share - found) for found in others) < 0.06 for share in SHARES)


def test_the_row_of_the_models_own_epsilon_is_what_labelling_does(fitted, faces, swept):
    (own,) = (row for row in swept if row.own)
    judged = fitted.label(faces.look.with_second(None), faces.ask)
    fired = judged.corrections_B > 0
    assert own.epsilon == fitted.constants.epsilon
    assert own.fired == pytest.approx(fired.float().mean().item())
    off = (judged.age_B - faces.low_N).abs()
    assert own.mae == pytest.approx(off.mean().item(), abs=1e-5)
    assert own.fired_mae == pytest.approx(off[fired].mean().item(), abs=1e-4)
    first = (judged.first_age_B - faces.low_N).abs()
    assert own.fired_mae_before == pytest.approx(first[fired].mean().item(), abs=1e-4)


def test_a_second_look_helps_where_it_is_independent(swept):
    assert swept[-1].mae < swept[0].mae - 0.1


def test_a_model_without_a_second_network_is_refused(face_file, model_folder, tmp_path, capsys):
    faces = face_file(np.linspace(0, 100, 4).tolist(), split=["val"] * 4)
    command = ["evaluate", str(model_folder), str(faces), "--epsilon-sweep", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "there is no ε to choose" in capsys.readouterr().err


def test_the_command_writes_its_table(face_file, model_folder, fitted, tmp_path, capsys, monkeypatch):
    look = rows(24, 8, second=True).look
    stand_in = SimpleNamespace(
        card=SimpleNamespace(name="stand-in"),
        images=Images(size=32),
        device=torch.device("cpu"),
        corrector=fitted,
        second=True,
        look=lambda images: look.with_second(None).at(slice(len(images))),
        look_again=lambda images: look.second_BK[: len(images)],
    )
    monkeypatch.setattr("cilf.evaluation.epsilon_sweep.Estimator", lambda folder: stand_in)
    faces = face_file(np.linspace(0, 100, 24).tolist(), split=["val"] * 24)
    command = ["evaluate", str(model_folder), str(faces), "--epsilon-sweep", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    with (tmp_path / "out" / "epsilon.csv").open() as file:
        found = list(csv.DictReader(file))
    record = json.loads((tmp_path / "out" / "epsilon.json").read_text())
    assert len(found) == len(record["rows"])
    assert record["faces"] == 24
    assert float(found[-1]["fired"]) == 1
    page = (tmp_path / "out" / "epsilon.md").read_text()
    assert page.count("the model's own") == 1
    assert "epsilon.md" in capsys.readouterr().out
