"""Checks of a recipe's data before Ray starts: that it exists, has the columns, and has enough people."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cilf.datasets.age_groups import years
from cilf.datasets.identifiers import identifier
from cilf.training.calibrate import LEAST_HELD_OUT, check_subjects
from cilf.training.raw import PLACES, Row
from cilf.training.recipe import Recipe
from cilf.training.rows import MAX_BAD_SHARE, no_rows
from cilf.training.sources import Source, open_source

logger = logging.getLogger(__name__)


def survey(recipe: Recipe) -> None:
    """Check the data of a recipe as far as possible without images; tars in a remote store are not read.

    Raises:
        UsageError: the data does not exist, training cannot read it, or it has too few people to calibrate on.
    """
    found = [open_source(source.path, source.fit) for source in recipe.data]
    chosen = [open_source(source.path, source.choose) for source in recipe.data if source.choose is not None]
    for source in (*found, *chosen):
        _check_rows(source)
    for source in {source.url: source for source in found if source.unread}.values():
        read = f"{len(source.files)} {source.kind} files"
        logger.warning("%s: reading %s, and ignoring %s", source.url, read, " and ".join(source.unread))
    _check_people(
        [there for there, source in zip(found, recipe.data, strict=True) if source.choose is not None], recipe
    )


def _check_rows(source: Source) -> None:
    rows = source.labels()
    if rows is not None and next(iter(rows), None) is None:
        raise no_rows(source.url, source.split)


def _check_people(sources: Iterable[Source], recipe: Recipe) -> None:
    """Check that all sources together hold out enough people; skipped if the people of a source are not yet known."""
    held, fitted = 0, 0
    for source in sources:
        rows = source.labels()
        if rows is None:
            return
        people: set[str | int] = set()
        count, bad = 0, 0
        for count, row in enumerate(rows, start=1):
            people.add(_who(row, count))
            bad += "wrong" in row or (years(row.get("age")) is None and years(row.get("age_low")) is None)
            if held + round(len(people) * recipe.held_out) >= LEAST_HELD_OUT:
                return
        if bad > MAX_BAD_SHARE * count:  # reading all rows gives a better message
            return
        held += round(len(people) * recipe.held_out)
        fitted += len(people) - round(len(people) * recipe.held_out)
    check_subjects(held, fitted)


def _who(row: Row, number: int) -> str | int:
    """The key of a row's person as in cilf.training.rows.subject_keys, or its number if it has only an image."""
    if (subject := identifier(row.get("subject"))) is not None:
        return f"subject {subject}"
    return next((f"row {name}" for key in ("id", *PLACES) if (name := identifier(row.get(key))) is not None), number)
