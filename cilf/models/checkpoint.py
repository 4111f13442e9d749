"""A model folder, there and back: `model.safetensors` beside `model.json`. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cilf.card import WEIGHTS_FILE, Card, ModelFolderError, read_card, write_card
from cilf.errors import UsageError
from cilf.models.corrector import Corrector
from cilf.models.network import Network
from cilf.models.systems import build_network

# The text tower's work is in text_KC once training ends.
_TRAINING_ONLY = ("text.", "prompts.")
_PROMPTS = ("text_KC", "head.text_KC")
_CORRECTOR = "corrector."


def save_model(model: Network, card: Card, folder: Path, corrector: Corrector | None = None) -> None:
    """Write a trained model: weight matrices in float16; vectors, statistics and the prompts' vectors as they are.

    What is wrong with a prompt's vector counts up to a hundred times in its logit.

    A corrector's tensors go in as they are, and its constants into the card.
    """
    model.cache_text()
    state = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 and name not in _PROMPTS else value
        for name, value in model.state_dict().items()
        if not name.startswith(_TRAINING_ONLY)
    }
    if corrector is not None:
        tensors, constants = corrector.state()
        state |= {_CORRECTOR + name: value for name, value in tensors.items()}
        card = card.model_copy(update={"correction": constants})
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS_FILE)
    write_card(card, folder)


def load_model(folder: Path) -> tuple[Network, Corrector | None, Card]:
    """A model folder's network, its corrector where it has been calibrated, and its card.

    The network is in float32 on the CPU, in eval mode and without text tower.

    Raises:
        ModelFolderError: no model there, or weights that are damaged or belong to another architecture.
    """
    card = read_card(folder)
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ModelFolderError(f"{folder / WEIGHTS_FILE} is not a safetensors file: {error}") from error
    ours = {name: _widen(value) for name, value in state.items() if not name.startswith(_CORRECTOR)}
    theirs = {name.removeprefix(_CORRECTOR): value for name, value in state.items() if name.startswith(_CORRECTOR)}
    try:
        model = build_network(card.model, deployed=True, load_weights=False)
        model.load_state_dict(ours)
        corrector = None if card.correction is None else Corrector.from_state(theirs, card.correction)
    except (RuntimeError, ValueError, UsageError) as error:
        raise ModelFolderError(f"{folder / WEIGHTS_FILE} does not fit its card: {error}") from error
    return model.eval(), corrector, card


def count_parameters(model: Network) -> int:
    """Learned numbers that a model folder holds, its corrector aside."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(_TRAINING_ONLY))


def _widen(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype == torch.float16 else value
