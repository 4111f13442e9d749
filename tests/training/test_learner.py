import numpy as np
import pytest
import torch
from tiny_training import RECIPE, labelled_batch

from cilf.training.learner import Learner, warm_cosine
from cilf.training.recipe import Recipe


def learner(**changes):
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}, **changes})
    return Learner(recipe, torch.device("cpu"), steps=5)


def batch(seed, rows=32):
    draw = np.random.default_rng(seed)
    image = torch.from_numpy(draw.integers(0, 256, (rows, 1, 32, 32, 3), np.uint8))
    return labelled_batch(image, torch.from_numpy(draw.uniform(0, 90, rows).astype(np.float32)))


def weights(learner):
    return torch.cat([value.flatten().float() for value in learner.model.state_dict().values()])


def test_resuming_from_a_state_equals_an_uninterrupted_run(tmp_path):
    whole = learner()
    for step in range(6):
        whole.learn([batch(step)], first_epoch=False)
    first = learner()
    for step in range(3):
        first.learn([batch(step)], first_epoch=False)
    torch.save(first.state(), tmp_path / "state.pt")
    second = learner(seed=5)
    second.load(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.step == 3
    for step in range(3, 6):
        second.learn([batch(step)], first_epoch=False)
    assert torch.equal(weights(whole), weights(second))
    assert all(torch.equal(whole.average[name], value) for name, value in second.average.items())


def test_the_average_follows_the_weights_and_is_what_estimates():
    learning = learner(ema=0.5)
    before = {name: value.clone() for name, value in learning.average.items()}
    learning.learn([batch(0)], first_epoch=True)
    name = "joint.weight"
    now = learning.model.state_dict()[name]
    # The first step keeps a tenth of the start for any `ema`; from the ninth step on, `ema` decides.
    assert torch.allclose(learning.average[name], 0.1 * before[name] + 0.9 * now)
    learning.step = 100
    held = learning.average[name].clone()
    learning.learn([batch(1)], first_epoch=True)
    assert torch.allclose(learning.average[name], (held + learning.model.state_dict()[name]) / 2, atol=1e-7)
    own = weights(learning).clone()
    with learning.averaged():
        assert torch.equal(learning.model.state_dict()[name], learning.average[name])
        assert not learning.model.training
        assert learning.estimate(batch(1)["image"]).isfinite().all()
    assert torch.equal(weights(learning), own)
    assert learning.model.training


def test_portions_add_up_to_one_batch():
    # Except for the matching loss, whose negatives are those within a portion.
    whole, portions = learner(accumulate=1), learner(accumulate=2)
    rows = batch(0)
    halves = [{name: value[part] for name, value in rows.items()} for part in (slice(0, 16), slice(16, 32))]
    one, two = whole.learn([rows], first_epoch=False), portions.learn(halves, first_epoch=False)
    for name in ("age", "score"):
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-5)


def test_the_text_tower_is_frozen_if_the_recipe_says_so():
    still, learning = learner(train_text=False), learner(train_text=True)
    for each, moves in ((still, False), (learning, True)):
        before = {name: value.clone() for name, value in each.model.text.named_parameters()}
        each.learn([batch(0)], first_epoch=False)
        moved = any(not torch.equal(before[name], value) for name, value in each.model.text.named_parameters())
        assert moved is moves


def test_schedule_warms_up_peaks_and_ends_at_zero():
    rates = [warm_cosine(step, 10, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
