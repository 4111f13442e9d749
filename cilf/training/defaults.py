"""Defaults for recipes that continue from a model."""

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
    "precision",
)
"""Fields copied from the model's recipe: how it was trained, and which subjects were held out."""
_COMPLETE = {"name", "summary", "licence", "model", "train_text", "epochs"}
_GENTLY = 0.2
"""Fraction of the start's learning rate: enough to learn something new without forgetting."""
_EPOCHS = 2


def filled(raw: Any) -> Any:
    """Complete a recipe read from YAML from the card of its `start`, if it has one and is not complete by itself.

    The network, how it is trained and which subjects are held out are those of the start. The recipe trains for two
    epochs at a fifth of the start's learning rate; `workers` and all other fields have a recipe's defaults.

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
        "summary": f"{card.summary} Trained further from {card.name} on additional data.",
        "licence": card.licence,
        "model": card.model.model_dump(mode="json"),
        "train_text": False,
        "epochs": _EPOCHS,
        **taken,
    }


def changed(raw: Any, changes: Any) -> Any:
    """Merge two trees of mappings: where not both values are mappings, the one from `changes` replaces the other."""
    if not (isinstance(raw, dict) and isinstance(changes, dict)):
        return changes
    return raw | {name: changed(raw.get(name), value) for name, value in changes.items()}
