"""`cilf card`, from its options to the files that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cilf.card import Card, read_card, write_card
from cilf.config import CardOptions
from cilf.errors import UsageError
from cilf.model_card.page import PAGE_FILE, page
from cilf.model_card.results import FILES, figures_of
from cilf.storage import locate, model_folder, read
from cilf.urls import split


def run(options: CardOptions) -> int:
    """Write a card; see cilf.model_card.card."""
    if split(options.model)[0] != "file":
        raise UsageError(f"MODEL {options.model} is a URL; `cilf card` needs a model in a folder on this machine")
    folder = model_folder(options.model)
    card = read_card(folder)
    figures = {name: value for url in options.results for name, value in _results(url, card)}
    card = card.model_copy(update={"figures": {**card.figures, **figures}})
    write_card(card, folder)
    (folder / PAGE_FILE).write_text(page(card), encoding="utf-8")
    print(f"wrote {folder / PAGE_FILE} with {len(card.figures)} results")
    return 0


def _results(url: str, card: Card) -> Iterator[tuple[str, Any]]:
    """Results in a folder of `cilf evaluate`, as pairs of the name on the card and the figures."""
    records = [(name, record) for name in FILES if (record := _record(url, name)) is not None]
    if not records:
        raise UsageError(f"RESULTS {url} has none of {', '.join(FILES)}: name the --output folder of `cilf evaluate`")
    for name, record in records:
        if record.get("model") != card.name:
            raise UsageError(f"{name} in {url} belongs to the model {record.get('model')}, not to {card.name}")
        yield figures_of(name, record)


def _record(url: str, name: str) -> Mapping[str, Any] | None:
    try:
        data = read(locate(url) / name)
        record = None if data is None else json.loads(data)
    except ValueError as error:
        raise UsageError(f"{name} in {url} is not JSON: {error}") from error
    if record is not None and not isinstance(record, dict):
        raise UsageError(f"{name} in {url} is not a result of `cilf evaluate`")
    return record
