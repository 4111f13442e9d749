"""Weight decay acts on matrices, and not on LayerScale, norms, and embeddings of positions, tokens and prompts."""

import pytest
import torch
from tiny_training import RECIPE

from cilf.models.systems import build_network
from cilf.training.decay import decays
from cilf.training.learner import Learner, parameter_groups
from cilf.training.recipe import Recipe


def recipe_of(**changes):
    return Recipe.model_validate({**RECIPE, "data": {"path": "p"}, **changes})


def test_decay_acts_on_maps_alone():
    recipe = recipe_of(weight_decay=0.5)
    model = build_network(recipe.model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, recipe)
    decayed, spared = (
        {names[id(p)] for group in groups if (group["weight_decay"] > 0) == wanted for p in group["params"]}
        for wanted in (True, False)
    )
    assert {"blocks.0.mixer_scale", "blocks.0.ffn_scale", "match_scale", "image.visual.class_embedding"} <= spared
    assert {"image.visual.positional_embedding", "text.token_embedding.weight"} <= spared
    assert all(name in spared for name in names.values() if name.endswith("bias"))
    assert {"joint.weight", "image.visual.proj", "image.visual.conv1.weight"} <= decayed
    assert {name for name in names.values() if "in_proj_weight" in name or name.endswith("mlp.c_fc.weight")} <= decayed


@pytest.mark.parametrize(
    ("module", "name", "wanted"),
    [
        (torch.nn.Linear(4, 1), "weight", True),
        (torch.nn.Linear(4, 1), "bias", False),
        (torch.nn.Conv2d(3, 3, 3, groups=3), "weight", True),
        (torch.nn.LayerNorm([4, 2, 2]), "weight", False),
        (torch.nn.Embedding(4, 3), "weight", False),
        (torch.nn.MultiheadAttention(4, 2), "in_proj_weight", True),
    ],
)
def test_decay_by_kind_of_module(module, name, wanted):
    assert decays(module, name, getattr(module, name)) is wanted


def test_layer_scale_stays_where_nothing_moves_it():
    learner = Learner(recipe_of(weight_decay=10.0, learning_rate=0.1), torch.device("cpu"), steps=1)
    scale = learner.model.blocks[0].mixer_scale
    scale.grad = torch.zeros_like(scale)
    before = scale.detach().clone()
    learner.optimiser.step()
    assert torch.equal(scale, before)
