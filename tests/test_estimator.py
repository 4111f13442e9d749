"""The estimator: uint8 images in, ages with expected errors out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

from cilf.card import ModelFolderError, read_card
from cilf.estimator import Estimates, Estimator, first_look
from cilf.models.checkpoint import load_model, save_model
from cilf.models.corrector import Corrector
from cilf.models.error_ensemble import ErrorEnsemble
from cilf.models.evidence import EvidenceScaler
from cilf.models.judge import Judge
from cilf.models.views import views


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_estimates_are_whole_typed_and_ordered(model_folder, images):
    estimates = Estimator(model_folder)(images)
    for field in fields(Estimates):
        wanted = {"corrections": np.int32, "accepted": np.bool_}.get(field.name, np.float32)
        values = getattr(estimates, field.name)
        assert values.shape == (5,)
        assert values.dtype == wanted
    assert (estimates.age_low <= estimates.age).all()
    assert (estimates.age <= estimates.age_high).all()
    assert (estimates.age >= 0).all()
    assert (estimates.age <= 100).all()


def test_same_images_same_numbers_whatever_the_batch(model_folder, images):
    estimator = Estimator(model_folder)
    whole, again = estimator(images), estimator(images)
    assert np.array_equal(whole.age, again.age)
    one_by_one = np.concatenate([estimator(images[i : i + 1]).age for i in range(5)])
    np.testing.assert_allclose(one_by_one, whole.age, atol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(model_folder, images, precision):
    exact = Estimator(model_folder)(images).first_age
    np.testing.assert_allclose(Estimator(model_folder, precision=precision)(images).first_age, exact, atol=0.5)


def test_no_images_no_estimates(model_folder, images):
    assert Estimator(model_folder)(images[:0]).age.shape == (0,)


@pytest.mark.parametrize("wrong", [np.zeros((2, 32, 32, 3), np.float32), np.zeros((2, 16, 16, 3), np.uint8)])
def test_other_images_are_refused_with_what_was_wanted(model_folder, wrong):
    with pytest.raises(ValueError, match=r"uint8 \[N, 32, 32, 3\]"):
        Estimator(model_folder)(wrong)


def test_a_model_without_calibration_is_refused(model_folder, tmp_path):
    model = load_model(model_folder).network
    save_model(model, read_card(model_folder).model_copy(update={"correction": None}), tmp_path)
    with pytest.raises(ModelFolderError, match="no calibrated correction"):
        Estimator(tmp_path)


def test_views_start_with_the_image_and_its_mirror_and_stay_in_place():
    pixels = torch.rand(2, 3, 24, 24)
    seen = views(pixels, 0, 8, mirrored=False)
    assert seen.shape[1] == 8
    assert torch.equal(seen[:, 0], pixels)
    assert torch.equal(seen[:, 1], pixels.flip(3))
    assert torch.equal(views(pixels, 2, 2, mirrored=False), seen[:, 2:4])
    assert torch.equal(views(pixels, 0, 4, mirrored=True), seen[:, ::2])
    assert len({round(float(view.sum()), 2) for view in seen[0]}) > 2


def test_a_mirrored_model_says_the_mean_of_an_image_and_its_mirror_image(model_folder):
    plain, mirrored = load_model(model_folder).network, load_model(model_folder).network
    mirrored.spec = mirrored.spec.model_copy(update={"mirrored": True})
    pixels = torch.randn(3, 3, 32, 32)
    one, both = (first_look(model, pixels, torch.float32) for model in (plain, mirrored))
    other = first_look(plain, pixels.flip(3), torch.float32)
    torch.testing.assert_close(both.posterior_BK, (one.posterior_BK + other.posterior_BK) / 2)
    torch.testing.assert_close(both.embedding_BC, (one.embedding_BC + other.embedding_BC) / 2)
    again = first_look(mirrored, pixels.flip(3), torch.float32)
    torch.testing.assert_close(again.posterior_BK, both.posterior_BK)
    # The last of its other ages is that of the image only, the others are means.
    torch.testing.assert_close(both.others_BD[:, :-1], (one.others_BD + other.others_BD) / 2)
    torch.testing.assert_close(both.others_BD[:, -1], plain.ages.mean(one.posterior_BK))


def test_the_second_network_is_asked_about_failing_faces_only(model_folder, images):
    estimator = Estimator(model_folder)
    first = estimator(images)
    assert (first.corrections == 0).all()
    asked = []

    def second(pixels_BCHW):
        asked.append(pixels_BCHW)
        return torch.nn.functional.one_hot(torch.full((len(pixels_BCHW),), 30), 101).float()

    constants = estimator.corrector.constants.model_copy(
        update={"epsilon": float(np.median(first.expected_error)), "joint_weights": (0.0, 1.0)}
    )
    estimator.second = second
    judge = estimator.corrector.first
    columns = len(judge.scaler.mean_Z) + 6
    scaler = EvidenceScaler(torch.zeros(columns), torch.ones(columns))
    twice = Judge(scaler, ErrorEnsemble(scaler.width), judge.knots_2M)
    estimator.corrector = Corrector(constants, estimator.corrector.familiarity, judge, twice)
    seen = estimator(images)
    failing = first.expected_error > constants.epsilon
    assert 0 < failing.sum() < 5
    assert (seen.corrections == failing).all()
    np.testing.assert_allclose(seen.age[failing], 30, atol=0.1)
    np.testing.assert_array_equal(seen.age[~failing], first.age[~failing])
    torch.testing.assert_close(torch.cat(asked), estimator.normalise(torch.from_numpy(images[failing])))


def test_importing_cilf_imports_neither_torch_nor_ray():
    code = "import sys, cilf; sys.exit(bool({'torch', 'ray', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
