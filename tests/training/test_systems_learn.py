"""Training, calibration and labelling with every published system, in one process."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_systems import ARCHITECTURE, NAMES, tiny
from tiny_training import face, labelled

from cilf.card import CARD_FILE, Card, Clip, Images, read_card
from cilf.datasets.labels import OLDEST
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.models.checkpoint import count_parameters, load_model, save_model
from cilf.models.cilf import CILF
from cilf.models.clip import ImageTower, build_clip
from cilf.models.corrector import Constants, Corrector
from cilf.models.corrector_fit import Plan, fit_corrector
from cilf.models.error_ensemble import ErrorEnsemble
from cilf.models.evidence import EvidenceScaler, evidence
from cilf.models.familiarity import Familiarity
from cilf.models.judge import Judge
from cilf.models.systems import build_network
from cilf.storage import model_folder as model_folder_of
from cilf.training.calibrate import correction_table
from cilf.training.epochs import Views
from cilf.training.examine import ROW
from cilf.training.learner import Learner
from cilf.training.recipe import Recipe
from cilf.training.rows import subject_keys

CALIBRATED = ("regression", "coral", "cilf-ciae")
"""Systems with a fitted corrector, which takes seconds to fit: those with one number, with a posterior, and with
several posteriors. The others get a corrector that has learned nothing."""


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    faces = pa.Table.from_pylist(labelled(320))
    return faces.append_column("subject", faces["id"]).append_column("body", faces["image"])


def examined(rows: pa.Table) -> pa.Table:
    """Add the columns that rows have after they have been checked."""
    missing = [field for field in ROW if field.name not in rows.column_names]
    return pa.table(
        {**{name: rows[name] for name in rows.column_names}, **{f.name: pa.nulls(len(rows), f.type) for f in missing}}
    )


def seen(views: Views, rows: pa.Table) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in views(examined(rows)).items()}


def learned(recipe: Recipe, rows: pa.Table) -> tuple[Learner, list[float]]:
    """The learner after all epochs on the rows, and its MAE on them before and after."""
    weights_K = np.ones(OLDEST + 1, np.float32)
    ages_N = rows["age"].to_numpy().astype(np.float32)
    steps = len(rows) // recipe.batch_size
    learner = Learner(recipe, torch.device("cpu"), steps, ages_N=ages_N)
    errors = [mae(learner, rows)]
    for epoch in range(recipe.epochs):
        order = np.random.default_rng(epoch).permutation(len(rows))
        views = Views(recipe.model.images, weights_K, (0, epoch))
        for step in range(steps):
            portion = seen(views, rows.take(order[step * recipe.batch_size :][: recipe.batch_size]))
            assert learner.learn([portion], first_epoch=epoch == 0)["loss"].isfinite()
        if wanted := learner.model.rows_after_epoch:
            batch = seen(Views(recipe.model.images, weights_K, None), rows.take(order[:wanted]))
            learner.after_epoch(lambda batch=batch: [batch])
    return learner, [*errors, mae(learner, rows)]


def mae(learner: Learner, rows: pa.Table) -> float:
    plain = seen(Views(learner.recipe.model.images, np.ones(OLDEST + 1, np.float32), None), rows)
    with learner.averaged(), torch.inference_mode():
        ages = learner.estimate(plain["image"])
    return float((ages - plain["age"]).abs().mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_system_learns_is_calibrated_and_estimates(name, rows, tmp_path):
    recipe = tiny(name)
    images = recipe.model.images
    if images.body:  # only the body shows the age
        grey = pa.array([face(50, 0)] * len(rows), pa.large_binary())
        rows = rows.set_column(rows.column_names.index("image"), "image", grey)
    learner, (before, after) = learned(recipe, rows.slice(0, 192))
    assert after < 0.95 * before
    with learner.averaged():
        model = build_network(recipe.model, load_weights=False)
        model.read_captions(())
        model.load_state_dict(learner.average)
    model.eval().cache_text()
    table = correction_table(model, [examined(rows.slice(192))], subject_keys(rows))
    assert table.look.posterior_BK.shape == (3 * 128, 101)
    torch.testing.assert_close(table.look.posterior_BK.sum(dim=1), torch.ones(3 * 128))
    assert table.clean_N.sum() == 128
    if name in CALIBRATED:
        corrector = fit_corrector(model.ages, table, Plan(decode=model.decode))
    else:
        plain = evidence(table.look, table.look.posterior_BK, model.ages, model.decode)
        scaler = EvidenceScaler.fit(plain)
        judge = Judge(scaler, ErrorEnsemble(scaler.width), torch.tensor([[0.0, 100.0], [0.0, 100.0]]))
        constants = Constants(youngest=0, oldest=100, decode=model.decode, epsilon=8.0, band_quantiles=(1.0,))
        corrector = Corrector(constants, Familiarity.fit(table.look), judge)
    card = Card(name=name, summary="s", licence="l", model=recipe.model)
    save_model(model, card, tmp_path, corrector)

    estimator = Estimator(tmp_path)
    assert estimator.card.model == recipe.model
    assert count_parameters(load_model(tmp_path)[0]) == count_parameters(model) > 0
    said = estimator(np.random.default_rng(0).integers(0, 256, (6, *images.shape), dtype=np.uint8))
    for values in (said.age, said.age_low, said.age_high, said.first_age, said.expected_error):
        assert values.shape == (6,)
        assert np.isfinite(values).all()
    assert ((said.age_low <= said.age) & (said.age <= said.age_high)).all()
    assert (said.age_high > said.age_low).any()
    # The network in the folder equals the learner's averaged weights, except for float16 rounding.
    noise = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, *images.shape), dtype=np.uint8))
    with learner.averaged(), torch.inference_mode():
        ages = learner.estimate(noise[:, None]).numpy()
    np.testing.assert_allclose(estimator(noise.numpy()).first_age, ages, atol=0.5)


def test_every_system_has_its_file_and_no_two_are_the_same():
    models = [tiny(name).model for name in NAMES]
    kinds = {(model.system and model.system.system, model.images.body) for model in models}
    assert len(kinds) == len(NAMES) == 13
    networks = {type(build_network(tiny(name).model)) is CILF: name for name in ("cilf-ciae", "dex")}
    assert networks == {True: "cilf-ciae", False: "dex"}


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("dex", {"balance": 0.5}, "dex has no balance"),
        ("coral", {"strategy": "fsdp2"}, "coral has no strategy: fsdp2"),
        ("mivolo", {"image_init": "imagenet-lite0"}, "mivolo has no image_init"),
        ("mivolo", {"frozen_stages": 1}, "mivolo has no frozen_stages"),
    ],
)
def test_options_that_a_system_does_not_support_are_refused(name, change, complaint):
    raw = tiny(name).model_dump(mode="json")
    with pytest.raises(ValueError, match=complaint):
        Recipe.model_validate(raw | change)


def test_networks_that_cannot_be_built_are_refused():
    for name, system, complaint in (("l2rclip", {"heads": 5}, "does not divide into 5 heads"),):
        spec = tiny(name).model
        assert spec.system is not None
        wrong = spec.model_copy(update={"system": spec.system.model_copy(update=system)})
        with pytest.raises(UsageError, match=complaint):
            build_network(wrong)
    spec = tiny("mivolo").model
    with pytest.raises(UsageError, match="multiple of 16"):
        build_network(spec.model_copy(update={"images": spec.images.model_copy(update={"size": 40})}))


def test_text_learns_first_images_second_and_idle_parameters_stay(rows):
    recipe = tiny("l2rclip").model_copy(update={"epochs": 1})
    learner = Learner(recipe, torch.device("cpu"), steps=10)
    portion = seen(Views(Images(size=32), np.ones(OLDEST + 1, np.float32), None), rows.slice(0, 32))
    for step, moving in ((0, "head"), (9, "image")):
        learner.step = step
        before = {name: value.clone() for name, value in learner.model.named_parameters()}
        learner.learn([portion], first_epoch=False)
        moved = {
            name.split(".")[0] for name, value in learner.model.named_parameters() if (value != before[name]).any()
        }
        assert moved == {moving}


@pytest.mark.parametrize(
    "vision",
    [
        {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear"},
        {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
        {"layers": 6, "width": 32, "head_width": 16, "patch_size": 8},
        {"layers": [1, 1, 1, 1], "width": 16},
    ],
    ids=["timm CNN", "timm ViT", "ViT", "ResNet"],
)
def test_a_tower_gives_four_levels_and_is_the_same_tower(vision):
    torch.manual_seed(0)
    side = 160  # the one that timm's test_vit takes
    clip = build_clip(Clip(architecture={**ARCHITECTURE, "vision_cfg": vision}), side)
    tower = ImageTower(clip.visual).eval()
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        plain, full = tower.features(pixels), tower.features(pixels, levels=True)
    assert not plain.levels
    assert len(full.levels) == 4
    torch.testing.assert_close(full.pooled_BC, plain.pooled_BC)
    torch.testing.assert_close(full.map_BCHW, plain.map_BCHW)
    sides = [level.shape[2] for level in full.levels]
    assert sides == sorted(sides, reverse=True)
    assert all(level.shape[2] == level.shape[3] for level in full.levels)


def test_a_card_without_a_system_is_unchanged(model_folder):
    assert "system" not in read_card(model_folder).model.model_dump(mode="json")
    assert tiny("dex").model.model_dump(mode="json")["system"]["system"] == "dex"
    # Fingerprints are computed from it: that of the bundled model must not change.
    bundled = model_folder_of("cilf-ciae-mobile")
    assert read_card(bundled).model.model_dump(mode="json") == json.loads((bundled / CARD_FILE).read_text())["model"]
