"""The model that a training run goes on from."""

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
"""Key in a card's `training` for the sketch of all that a model has learned from."""


def start_weights(recipe: Recipe) -> Weights | None:
    """The weights that the recipe starts from, float32 on the CPU; None where it starts from nothing of ours.

    Raises:
        UsageError: no such model, one that is built otherwise, or one that has learned from rows that this run would
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
            raise RuntimeError("other ages or prompts")
        build_network(recipe.model, deployed=True, load_weights=False).load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:1000]
        raise UsageError(f"start: {recipe.start} is not built as this recipe's `model` says: {problem}") from error
    return weights


@torch.no_grad()
def mix(model: Network, start: Weights, share: float) -> None:
    """Put back a share of the start's weights and batch statistics, in place."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(start[name].to(value), share)


def learned_from(recipe: Recipe, contents: pa.ChunkedArray) -> list[str]:
    """The sketch of what a run and all before it have learned from."""
    return sketch(contents, _seen(recipe))


def check_unseen(recipe: Recipe, contents: pa.ChunkedArray) -> None:
    """Rows held out stay held out: an interval calibrated on rows learned from would be too narrow.

    Args:
        contents: int64, of the rows that are held out.

    Raises:
        UsageError: the start has learned from some of them.
    """
    if found := met(_seen(recipe), contents):
        raise UsageError(
            f"start: {recipe.start} has learned from rows that this run would calibrate on (at least {found} of "
            f"{len(contents)}): name the data as that model's recipe has it, with its seed and held_out, or other data"
        )


def _seen(recipe: Recipe) -> list[str]:
    return [] if recipe.start is None else read_card(model_folder(recipe.start)).training.get(SEEN, [])


def _check_draw(recipe: Recipe, card: Card) -> None:
    """What `check_unseen` finds, already before any row is read, where the data is named as it was."""
    earlier = card.training.get("recipe", {})
    before = {(_place(source["path"]), source["fit"]) for source in entries(earlier.get("data", []))}
    if not before & {(_place(source.path), source.fit) for source in recipe.data if source.choose is not None}:
        return
    for name in ("seed", "held_out"):
        if earlier[name] != getattr(recipe, name):
            raise UsageError(
                f"start: {recipe.start} has learned from rows that this run would calibrate on; "
                f"its {name} is {earlier[name]}, so let this recipe's be, too"
            )


def _place(url: str) -> str:
    """Where data is, however it is written: without links, `..` and slashes at the end."""
    place = locate(url)
    return (
        os.path.realpath(place.path) if place.scheme == "file" else f"{place.scheme}://{os.path.normpath(place.path)}"
    )
