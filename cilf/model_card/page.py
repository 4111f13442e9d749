"""card.md: what a model is, for whom it is, and how good it is, from its model.json alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cilf.card import Card
from cilf.evaluation.layout import plain
from cilf.model_card.method import method, own_parts
from cilf.model_card.results import DEGRADED, percent, sections

PAGE_FILE = "card.md"

_USES = """Estimates of how old faces look, over many photographs: statistics of a corpus, searches, a choice of
what people look at. Read the interval with the age, and leave out what is not accepted.

Not for decisions about a person: no proof of age, no access control, no policing, hiring or insurance. The
model repeats what its data says of how old people look, and its errors differ between groups of people."""

_MOVE = """Labels keep the fingerprint of the model that made them, and labels of two models never mix. A new
model labels into a folder of its own beside the old one's. `OUTPUT/current.json` names the model that readers
take, and changes once the new one has a row for every photograph of the old one:

    cilf label PHOTOGRAPHS OUTPUT --model {name} --dry-run    # what it will cost
    cilf label PHOTOGRAPHS OUTPUT --model {name}

Ages of two models differ, so compare trends within one model. README.md, "Upgrade the model", has a query that
compares both, and says how to remove the old labels."""


def page(card: Card) -> str:
    """The card as Markdown."""
    parts = [
        f"# {card.name}",
        card.summary,
        "This page is made from `model.json` by `cilf card`.",
        *(["## For whom, and for whom not", _USES] if card.model.ages.names is None else []),
        "## Licence and terms",
        card.licence,
        *_material(card),
        "## How good it is",
        *(sections(card.figures) if card.figures else ["Nothing has been measured."]),
        *_failings(card.figures),
        "## How much of the method is in use",
        "CILF-CIAE is described in [arXiv 2312.01758](https://arxiv.org/abs/2312.01758).",
        method(card),
        "This project's own:",
        "\n".join(f"- {line}" for line in own_parts(card)),
        "## Moving a corpus to this model",
        _MOVE.format(name=card.name),
    ]
    return "\n\n".join(parts) + "\n"


def _material(card: Card) -> Iterator[str]:
    """What it was made from, as far as the card tells."""
    training, size = card.training, card.model.images.size
    recipe = training.get("recipe")
    if recipe is None:
        return
    data = ", ".join(plain(name) for name in _data(recipe["data"]))
    yield (
        f"Learned from {data}: {training['fitted_faces']:,} faces, {recipe['epochs']} epochs at up to {size} pixels; "
        f"{training['held_out_faces']:,} further ones calibrate judgement and intervals."
        + (f" {training['parameters']:,} learned numbers." if "parameters" in training else "")
    )


def _data(data: Any) -> list[str]:
    """Names of all sources of a recipe, which may be one or several."""
    sources = [data] if isinstance(data, Mapping) else data
    sources = [*sources, *(more for source in sources for more in source.get("more", ()))]
    return [source["path"].rstrip("/").rpartition("/")[2] for source in sources]


def _failings(figures: Mapping[str, Any]) -> Iterator[str]:
    """Where the figures are worst."""
    lines = [line for name, result in figures.items() for line in _worst(plain(name), result)]
    if lines:
        yield "## Known failings"
        yield "\n".join(f"- {line}" for line in lines)


def _worst(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    if name.endswith(DEGRADED):
        yield from _worst_degradation(name, result)
    elif coverage := result.get("interval_coverage"):
        errors = {band: result[f"mae {band}"] for band in coverage if band != "all"}
        band = max(errors, key=errors.__getitem__)
        yield f"{name}: the largest errors are at {band} (MAE {errors[band]:.1f}, {result['mae']:.1f} overall)."
        least = min(coverage, key=coverage.__getitem__)
        if round(coverage[least], 2) < 0.9:
            yield f"{name}: intervals hold the truth least often at {least}: {percent(coverage[least])}, not 90 %."


def _worst_degradation(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    measured = {kind: row for kind, row in result["of"].items() if "above_clean" in row}
    if measured:
        kind = max(measured, key=lambda each: measured[each]["above_clean"])
        row = measured[kind]
        yield (
            f"{name}: “{plain(kind)}” does the most harm: {row['above_clean']:+.1f} ({result['measure']}), and "
            f"{percent(row['covered'])} of the intervals hold the truth."
        )
