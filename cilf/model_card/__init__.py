"""The card of a model for readers, card.md: made of model.json alone, so that both say the same."""

from __future__ import annotations

from cilf.config import CardOptions


def card(options: CardOptions) -> int:
    """Put results of `cilf evaluate` on MODEL's card, and write the card as card.md beside model.json.

    Raises:
        UsageError: the model is not in a folder on this machine, or a result is missing or of another model.
        ModelFolderError: the folder is not a model folder.
    """
    from cilf.model_card.job import run

    return run(options)
