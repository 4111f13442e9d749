"""The bundled models' numbers change only together with the fingerprint of labels.

golden_ages.py pins them.
"""

import json

import numpy as np
import pytest
from golden_ages import FILE, main, measured, moved, print_of

from cilf.config import DEFAULT_MODEL
from cilf.demo import photographs
from cilf.estimator import Estimator
from cilf.images.faces import find
from cilf.storage import bundled_models, model_folder

PINNED = json.loads(FILE.read_text(encoding="utf-8"))
AGAIN = "pin the ages again: python tests/golden/golden_ages.py"


def test_every_bundled_model_is_pinned():
    assert sorted(PINNED) == bundled_models(), AGAIN


@pytest.mark.parametrize("model", bundled_models())
def test_ages_of_fixed_images_are_as_pinned(model):
    assert PINNED[model]["fingerprint"] == print_of(model_folder(model)), f"weights or versions have changed: {AGAIN}"
    names = moved(PINNED[model], measured(model))
    assert not names, f"the numbers of {names} have changed: raise DECODE_VERSION or FACES_VERSION if intended"


def test_a_portrait_has_the_same_age_in_every_format():
    ages = [age for name, [(age, *_)] in measured(DEFAULT_MODEL)["ages"].items() if name.startswith("portrait.")]
    assert len(ages) == 5
    assert max(ages) - min(ages) < 2


def test_changed_numbers_are_not_pinned_without_a_new_version(monkeypatch, capsys, tmp_path):
    pinned = {
        "some": {"fingerprint": "a", "ages": {"face.png": [[30.0, 20.0, 40.0]], "two.png": [[1, 0, 2], [3, 2, 4]]}}
    }
    now = {"fingerprint": "a", "ages": {"face.png": [[30.04, 20.0, 40.0]], "two.png": [[1, 0, 2]]}}
    file = tmp_path / "ages.json"
    file.write_text(json.dumps(pinned))
    monkeypatch.setattr("golden_ages.FILE", file)
    monkeypatch.setattr("golden_ages.bundled_models", lambda: ["some"])
    monkeypatch.setattr("golden_ages.measured", lambda model: now)
    assert main() == 1
    assert "two.png have changed" in capsys.readouterr().err
    assert json.loads(file.read_text()) == pinned
    now["fingerprint"] = "b"
    assert main() == 0
    assert json.loads(file.read_text()) == {"some": now}


@pytest.mark.parametrize(("by", "differs"), [(0.04, False), (0.06, True)])
@pytest.mark.parametrize("place", range(3))
def test_age_and_both_ends_count(by, differs, place):
    numbers = np.array([30.0, 20.0, 40.0])
    changed = numbers + by * np.eye(3)[place]
    before, after = ({"ages": {"face.png": [row.tolist()]}} for row in (numbers, changed))
    assert moved(before, after) == (["face.png"] if differs else [])


def test_the_demo_shows_an_estimate_that_is_not_accepted(tmp_path):
    photographs.make(tmp_path / "photographs")
    estimator = Estimator(model_folder(DEFAULT_MODEL), device="cpu", threads=1)
    files = [tmp_path / "photographs" / "portrait" / f"{name}.jpg" for name in ("in-the-dark", "out-of-focus")]
    faces = [find(file.read_bytes(), estimator.images, 10**8).crops_NHWC for file in files]
    assert all(len(crops) == 1 for crops in faces)
    assert not estimator(np.concatenate(faces)).accepted.all()
