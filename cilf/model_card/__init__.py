"""The readable card of a model, card.md: generated from model.json alone, so that both always agree."""

from __future__ import annotations

from cilf.config import CardOptions


def card(options: CardOptions) -> int:
    """Put results of `cilf evaluate` on MODEL's card, and write the card as card.md beside model.json.

    Raises:
        UsageError: the model is not in a folder on this machine, or a result is missing or belongs to another model.
        ModelFolderError: the folder is not a model folder.
    """
    from cilf.model_card.job import run

    return run(options)
