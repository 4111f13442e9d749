"""What a recipe that goes on from a model may leave out."""

from __future__ import annotations

from typing import Any

from cilf.card import Card, read_card
from cilf.storage import model_folder

_AS_BEFORE = (
    "batch_size",
    "image_rate",
    "weight_decay",
    "clip",
    "ema",
    "balance",
    "held_out",
    "seed",
    "frozen_stages",
    "views",
)
"""Taken over from the recipe of the model: how it learned, and whom it has not seen."""
_COMPLETE = {"name", "summary", "licence", "model", "train_text", "epochs"}
_GENTLY = 0.2
"""Share of the start's learning rate: enough to learn something new without forgetting the old."""
_EPOCHS = 2


def filled(raw: Any) -> Any:
    """A recipe as it stands in YAML; one that has a `start` and is not complete by itself, completed from its card.

    The network is the start's, and so are how it learned and which subjects were held out. Two epochs at a fifth of its
    rate follow; `workers` and all else are a recipe's defaults.

    Raises:
        UsageError: there is no such model.
        ModelFolderError: the folder holds no model.
    """
    if not (isinstance(raw, dict) and isinstance(raw.get("start"), str)) or raw.keys() >= _COMPLETE:
        return raw
    card = read_card(model_folder(raw["start"]))
    return changed(_of(card), raw)


def _of(card: Card) -> dict[str, Any]:
    before = card.training.get("recipe", {})
    taken: dict[str, Any] = {name: before[name] for name in _AS_BEFORE if name in before}
    if "learning_rate" in before:
        taken["learning_rate"] = _GENTLY * before["learning_rate"]
    return {
        "name": f"{card.name}-on",
        "summary": f"{card.summary} It went on from {card.name} with further data.",
        "licence": card.licence,
        "model": card.model.model_dump(mode="json"),
        "train_text": False,
        "epochs": _EPOCHS,
        **taken,
    }


def changed(raw: Any, changes: Any) -> Any:
    """A tree of mappings with another laid over it: what is no mapping on both sides is replaced."""
    if not (isinstance(raw, dict) and isinstance(changes, dict)):
        return changes
    return raw | {name: changed(raw.get(name), value) for name, value in changes.items()}
