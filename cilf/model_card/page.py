"""card.md, generated from model.json alone: description of a model, its intended use, and its measured quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cilf.card import Card
from cilf.evaluation.layout import plain
from cilf.model_card.method import method, own_parts
from cilf.model_card.results import DEGRADED, percent, sections

PAGE_FILE = "card.md"

_USES = """Estimates of apparent age over many photographs: statistics of a corpus, search, and the selection of
photographs for people to review. Read each age with its interval, and leave out estimates that are not accepted.

Not for decisions about a person: no proof of age, access control, policing, hiring or insurance. The model
reproduces the ages that its training data gives to faces, and its errors differ between groups of people."""

_MOVE = """Labels keep the fingerprint of the model that made them, and labels of two models never mix. A new
model writes its labels into its own folder, next to that of the old one. `OUTPUT/current.json` names the model
whose labels readers use; it changes once the new model has a row for every photograph that the old one labelled:

    cilf label PHOTOGRAPHS OUTPUT --model {name} --dry-run    # what it will cost
    cilf label PHOTOGRAPHS OUTPUT --model {name}

Ages of two models differ, so compare trends within one model. docs/guides/upgrade-the-model.md has a query that
compares both, and says how to remove the old labels."""


def page(card: Card) -> str:
    """The card as Markdown."""
    parts = [
        f"# {card.name}",
        card.summary,
        "This page is made from `model.json` by `cilf card`.",
        *(["## Intended uses, and uses to avoid", _USES] if card.model.ages.names is None else []),
        "## Licence and terms",
        card.licence,
        *_material(card),
        "## Results",
        *(sections(card.figures) if card.figures else ["Nothing has been measured yet."]),
        *_failings(card.figures),
        "## Parts of the method in use",
        "CILF-CIAE is described in [arXiv 2312.01758](https://arxiv.org/abs/2312.01758).",
        method(card),
        "Additions of this project:",
        "\n".join(f"- {line}" for line in own_parts(card)),
        "## Moving a corpus to this model",
        _MOVE.format(name=card.name),
    ]
    return "\n\n".join(parts) + "\n"


def _material(card: Card) -> Iterator[str]:
    """Training data and size of the model, if the card has a recipe."""
    training, size = card.training, card.model.images.size
    recipe = training.get("recipe")
    if recipe is None:
        return
    data = ", ".join(plain(name) for name in _data(recipe["data"]))
    yield (
        f"Trained on {data}: {training['fitted_faces']:,} faces, {recipe['epochs']} epochs at up to {size} pixels; "
        f"{training['held_out_faces']:,} held-out faces calibrate judgement and intervals."
        + (f" {training['parameters']:,} learned parameters." if "parameters" in training else "")
    )


def _data(data: Any) -> list[str]:
    """Names of a recipe's sources; `data` is one source or a list of them."""
    sources = [data] if isinstance(data, Mapping) else data
    sources = [*sources, *(more for source in sources for more in source.get("more", ()))]
    return [source["path"].rstrip("/").rpartition("/")[2] for source in sources]


def _failings(figures: Mapping[str, Any]) -> Iterator[str]:
    """Section that lists the worst figures of each result."""
    lines = [line for name, result in figures.items() for line in _worst(plain(name), result)]
    if lines:
        yield "## Known weaknesses"
        yield "\n".join(f"- {line}" for line in lines)


def _worst(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    if name.endswith(DEGRADED):
        yield from _worst_degradation(name, result)
    elif coverage := result.get("interval_coverage"):
        errors = {band: result[f"mae {band}"] for band in coverage if band != "all"}
        band = max(errors, key=errors.__getitem__)
        yield f"{name}: errors are largest in the band {band} (MAE {errors[band]:.1f}, {result['mae']:.1f} overall)."
        least = min(coverage, key=coverage.__getitem__)
        if round(coverage[least], 2) < 0.9:
            yield f"{name}: coverage of the 90 % interval is lowest in the band {least}: {percent(coverage[least])}."


def _worst_degradation(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    measured = {kind: row for kind, row in result["of"].items() if "above_clean" in row}
    if measured:
        kind = max(measured, key=lambda each: measured[each]["above_clean"])
        row = measured[kind]
        yield (
            f"{name}: the worst degradation is “{plain(kind)}”: {row['above_clean']:+.1f} ({result['measure']}), and "
            f"{percent(row['covered'])} of the intervals contain the truth."
        )
