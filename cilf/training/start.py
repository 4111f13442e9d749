"""The model that a training run goes on from."""

from __future__ import annotations

import torch
from torch import Tensor

from cilf.card import Card
from cilf.errors import UsageError
from cilf.models.checkpoint import load_model
from cilf.models.network import Network
from cilf.models.systems import build_network
from cilf.storage import model_folder
from cilf.training.recipe import Data, Recipe

Weights = dict[str, Tensor]


def start_weights(recipe: Recipe) -> Weights | None:
    """The weights that the recipe starts from, float32 on the CPU; None where it starts from nothing of ours.

    Raises:
        UsageError: no such model, one that is built otherwise, or one that has learned from rows that this run would
            calibrate on.
        ModelFolderError: the folder holds no model.
    """
    if recipe.start is None:
        return None
    model, _, card = load_model(model_folder(recipe.start))
    _check_rows(recipe, card)
    weights = dict(model.state_dict())
    try:
        if card.model.ages != recipe.model.ages or card.model.prompts != recipe.model.prompts:
            raise RuntimeError("other ages or prompts")
        build_network(recipe.model, deployed=True, load_weights=False).load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise UsageError(f"start: {recipe.start} is not built as this recipe's `model` says: {problem}") from error
    return weights


@torch.no_grad()
def mix(model: Network, start: Weights, share: float) -> None:
    """Put back a share of the start's weights and batch statistics, in place."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(start[name].to(value), share)


def _check_rows(recipe: Recipe, card: Card) -> None:
    """Rows held out stay held out: an interval calibrated on rows learned from would be too narrow."""
    earlier = card.training.get("recipe", {})
    data = Data.model_validate(earlier["data"]) if "data" in earlier else None
    if data is None or (data.path, data.fit) != (recipe.data.path, recipe.data.fit):
        return
    for name in ("seed", "held_out"):
        if earlier[name] != getattr(recipe, name):
            raise UsageError(
                f"start: {recipe.start} has learned from rows that this run would calibrate on; "
                f"its {name} is {earlier[name]}, so let this recipe's be, too"
            )
