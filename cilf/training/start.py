"""The model that a training run continues from."""

from __future__ import annotations

import os

import pyarrow as pa
import torch
from torch import Tensor

from cilf.card import Card, read_card
from cilf.errors import UsageError
from cilf.models.checkpoint import load_model
from cilf.models.network import Network
from cilf.models.systems import build_network
from cilf.storage import locate, model_folder
from cilf.training.recipe import Recipe, entries
from cilf.training.sketch import met, sketch

Weights = dict[str, Tensor]
SEEN = "learned_from"
"""Key in a card's `training` for the sketch of all rows that a model was trained on."""


def start_weights(recipe: Recipe) -> Weights | None:
    """The weights that the recipe starts from, float32 on the CPU; None if the recipe has no `start`.

    Raises:
        UsageError: the model does not exist, is built differently, or was trained on rows that this run would
            calibrate on.
        ModelFolderError: the folder holds no model.
    """
    if recipe.start is None:
        return None
    loaded = load_model(model_folder(recipe.start))
    model, card = loaded.network, loaded.card
    _check_draw(recipe, card)
    weights = dict(model.state_dict())
    try:
        if card.model.ages != recipe.model.ages or card.model.prompts != recipe.model.prompts:
            raise RuntimeError("its ages or prompts are different")
        build_network(recipe.model, deployed=True, load_weights=False).load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:1000]
        raise UsageError(f"start: {recipe.start} does not fit this recipe's `model`: {problem}") from error
    return weights


@torch.no_grad()
def mix(model: Network, start: Weights, share: float) -> None:
    """Interpolate the model's weights and batch statistics towards the start's by `share`, in place."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(start[name].to(value), share)


def learned_from(recipe: Recipe, contents: pa.ChunkedArray) -> list[str]:
    """The sketch of the rows that this run and all earlier ones have trained on."""
    return sketch(contents, _seen(recipe))


def check_unseen(recipe: Recipe, contents: pa.ChunkedArray) -> None:
    """Check that the start was not trained on the held-out rows: an interval calibrated on them would be too narrow.

    Args:
        contents: int64, the `content` of the held-out rows.

    Raises:
        UsageError: the start was trained on some of them.
    """
    if found := met(_seen(recipe), contents):
        raise UsageError(
            f"start: {recipe.start} was trained on rows that this run would calibrate on (at least {found} of "
            f"{len(contents)}): use the data, seed and held_out of that model's recipe, or other data"
        )


def _seen(recipe: Recipe) -> list[str]:
    return [] if recipe.start is None else read_card(model_folder(recipe.start)).training.get(SEEN, [])


def _check_draw(recipe: Recipe, card: Card) -> None:
    """Find the same errors as `check_unseen` before any row is read, for data with the same path as in the start."""
    earlier = card.training.get("recipe", {})
    before = {(_place(source["path"]), source["fit"]) for source in entries(earlier.get("data", []))}
    if not before & {(_place(source.path), source.fit) for source in recipe.data if source.choose is not None}:
        return
    for name in ("seed", "held_out"):
        if earlier[name] != getattr(recipe, name):
            raise UsageError(
                f"start: {recipe.start} was trained on rows that this run would calibrate on; "
                f"its {name} is {earlier[name]}: set the same in this recipe"
            )


def _place(url: str) -> str:
    """The normalised location of data: without links, `..` and trailing slashes."""
    place = locate(url)
    return (
        os.path.realpath(place.path) if place.scheme == "file" else f"{place.scheme}://{os.path.normpath(place.path)}"
    )
