"""One table of what correction does and costs as ε falls."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from synthetic_rows import rows

from cilf import cli
from cilf.ages import AgeSpace
from cilf.evaluation.epsilon_sweep import SHARES, sweep
from cilf.models.corrector_fit import Plan, fit_corrector


@pytest.fixture(scope="module")
def fitted():
    oof, calibration = rows(1500, 1, honest=False), rows(2400, 2, honest=False)
    return fit_corrector(AgeSpace(), oof, calibration, Plan(extra_views=0.5))


@pytest.fixture(scope="module")
def faces():
    return rows(4000, 7, honest=False)


@pytest.fixture(scope="module")
def swept(fitted, faces):
    return sweep(fitted, faces.predictions, faces.ages_N.numpy())


def test_the_lower_epsilon_is_the_more_faces_fire_and_the_more_views_are_seen(swept):
    assert [row.epsilon for row in swept[:-1]] == sorted((row.epsilon for row in swept[:-1]), reverse=True)
    fired, views = [row.fired for row in swept], [row.views_per_face for row in swept]
    assert fired == sorted(fired)
    assert views == sorted(views)
    assert (fired[0], views[0], swept[0].settled, swept[0].fired_mae) == (0, 1, None, None)
    last = swept[-1]
    assert (last.epsilon, last.fired, last.settled, last.views_per_face) == (None, 1, 0, 4)
    # The shares that were asked for, but for faces whose judged errors are the same.
    others = [row.fired for row in swept if not row.own]
    assert all(min(abs(share - found) for found in others) < 0.06 for share in SHARES)


def test_the_row_of_the_models_own_epsilon_is_what_labelling_does(fitted, faces, swept):
    (own,) = (row for row in swept if row.own)
    judged = fitted.label(faces.first(1), faces.predict)
    fired = judged.corrections_B > 0
    assert own.epsilon == fitted.constants.epsilon
    assert own.fired == pytest.approx(fired.float().mean().item())
    off = (judged.age_B - faces.ages_N).abs()
    assert own.mae == pytest.approx(off.mean().item(), abs=1e-5)
    assert own.fired_mae == pytest.approx(off[fired].mean().item(), abs=1e-4)
    first = (judged.first_age_B - faces.ages_N).abs()
    assert own.fired_mae_before == pytest.approx(first[fired].mean().item(), abs=1e-4)


def test_further_views_help_where_they_are_independent(swept):
    assert swept[-1].mae < swept[0].mae - 0.1


def test_the_command_writes_its_table(face_file, tmp_path, capsys):
    faces = face_file(np.linspace(0, 100, 24).tolist(), split=["val"] * 24)
    command = ["evaluate", "cilf-ciae-lite0", str(faces), "--epsilon-sweep", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    with (tmp_path / "out" / "epsilon.csv").open() as file:
        found = list(csv.DictReader(file))
    record = json.loads((tmp_path / "out" / "epsilon.json").read_text())
    assert len(found) == len(record["rows"])
    assert record["faces"] == 24
    assert float(found[-1]["views_per_face"]) == 4
    page = (tmp_path / "out" / "epsilon.md").read_text()
    assert page.count("the model's own") == 1
    assert "epsilon.md" in capsys.readouterr().out
