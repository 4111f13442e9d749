"""What can be told of a recipe's data before Ray starts: that it is there, has the columns, and shows enough people."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cilf.datasets.age_groups import years
from cilf.datasets.identifiers import identifier
from cilf.training.calibrate import check_subjects, is_enough
from cilf.training.raw import PLACES, Row
from cilf.training.recipe import Recipe
from cilf.training.rows import MAX_BAD_SHARE, no_rows
from cilf.training.sources import Source, open_source

logger = logging.getLogger(__name__)


def survey(recipe: Recipe) -> None:
    """Look at the data of a recipe as far as that takes no image; of tars in a store nothing is read.

    Raises:
        UsageError: it is not there, is not what training reads, or shows too few people to calibrate on.
    """
    data = recipe.data
    known = open_source(data.path, data.fit)
    others = [open_source(data.choose_path or data.path, data.choose), *(open_source(m.path, m.fit) for m in data.more)]
    for source in others:
        _check_rows(source)
    for source in {source.url: source for source in (known, *others) if source.unread}.values():
        read = f"{len(source.files)} {source.kind} files, which are read"
        logger.warning("%s holds %s, and %s, which are not", source.url, read, " and ".join(source.unread))
    rows = known.labels()
    if rows is not None:
        _check_people(rows, known, recipe)


def _check_rows(source: Source) -> None:
    rows = source.labels()
    if rows is not None and next(iter(rows), None) is None:
        raise no_rows(source.url, source.split)


def _check_people(rows: Iterable[Row], source: Source, recipe: Recipe) -> None:
    people: set[str | int] = set()
    count, bad = 0, 0
    for count, row in enumerate(rows, start=1):
        people.add(_who(row, count))
        bad += "wrong" in row or (years(row.get("age")) is None and years(row.get("age_low")) is None)
        held = round(len(people) * recipe.held_out)
        if is_enough(held, len(people) - held, bool(recipe.folds)):
            return
    if not count:
        raise no_rows(source.url, source.split)
    if bad <= MAX_BAD_SHARE * count:  # of more, reading them all tells more
        check_subjects(held, len(people) - held, bool(recipe.folds))


def _who(row: Row, number: int) -> str | int:
    """As cilf.training.rows.subject_keys has it, but that a row with nothing but an image is one of its own."""
    if (subject := identifier(row.get("subject"))) is not None:
        return f"subject {subject}"
    return next((f"row {name}" for key in ("id", *PLACES) if (name := identifier(row.get(key))) is not None), number)
