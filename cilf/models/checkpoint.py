"""Saves and loads model folders: `model.safetensors` and `model.json`. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cilf.card import WEIGHTS_FILE, Card, ModelFolderError, read_card, write_card
from cilf.errors import UsageError
from cilf.models.corrector import Corrector
from cilf.models.network import Network
from cilf.models.second import SecondNetwork
from cilf.models.systems import build_network

# Not saved: once training ends, text_KC holds what the text tower computes.
_TRAINING_ONLY = ("text.", "prompts.")
_PROMPTS = ("text_KC", "head.text_KC")
_CORRECTOR = "corrector."
_SECOND = "second."


class Loaded(NamedTuple):
    """The contents of a model folder; networks are in float32 on the CPU, in eval mode and without text tower."""

    network: Network
    corrector: Corrector | None
    """None if the model is not calibrated."""
    second: SecondNetwork | None
    """The network that the corrector asks about faces whose estimate it judges bad; None if there is none."""
    card: Card


def save_model(
    model: Network,
    card: Card,
    folder: Path,
    corrector: Corrector | None = None,
    second: SecondNetwork | None = None,
) -> None:
    """Write a trained model: weight matrices in float16; vectors, statistics and the prompts' vectors unchanged.

    The prompts' vectors stay exact because a logit multiplies their errors by up to a hundred.

    A corrector's tensors are written unchanged, and its constants go into the card.
    """
    model.cache_text()
    state = {name: _narrow(name, value) for name, value in model.state_dict().items() if _is_kept(name)}
    if second is not None:
        state |= {_SECOND + name: _narrow(name, value) for name, value in second.state_dict().items()}
    if corrector is not None:
        tensors, constants = corrector.state()
        state |= {_CORRECTOR + name: value for name, value in tensors.items()}
        card = card.model_copy(update={"correction": constants})
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS_FILE)
    write_card(card, folder)


def load_model(folder: Path) -> Loaded:
    """Load a model folder's networks, corrector and card.

    Raises:
        ModelFolderError: the folder holds no model, or its weights are damaged or belong to another architecture.
    """
    card = read_card(folder)
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ModelFolderError(f"{folder / WEIGHTS_FILE} is not a safetensors file: {error}") from error
    second, corrector = _taken(state, _SECOND), _taken(state, _CORRECTOR)
    try:
        model = build_network(card.model, deployed=True, load_weights=False)
        model.load_state_dict({name: _widen(value) for name, value in state.items()})
        return Loaded(
            model.eval(),
            None if card.correction is None else Corrector.from_state(corrector, card.correction),
            _second(card, second) if second else None,
            card,
        )
    except (RuntimeError, ValueError, UsageError) as error:
        raise ModelFolderError(f"{folder / WEIGHTS_FILE} does not fit its card: {error}") from error


def _taken(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove the tensors under a prefix from `state` and return them, keyed by the rest of their names."""
    return {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}


def _second(card: Card, state: dict[str, Tensor]) -> SecondNetwork:
    network = SecondNetwork(card.model.images, card.model.ages.space)
    network.load_state_dict({name: _widen(value) for name, value in state.items()})
    return network.eval()


def _is_kept(name: str) -> bool:
    return not name.startswith(_TRAINING_ONLY)


def count_parameters(model: Network) -> int:
    """Number of parameters that a model folder holds, without its corrector."""
    return sum(p.numel() for name, p in model.named_parameters() if _is_kept(name))


def _narrow(name: str, value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() and value.ndim > 1 and name not in _PROMPTS else value


def _widen(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float16 else value
