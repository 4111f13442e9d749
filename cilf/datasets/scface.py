"""SCface: `001_cam1_1.jpg` is subject 001 before camera 1 at distance 1, `001_frontal.jpg` the same person's portrait.

The file names contain no ages. They come from a table `subjects.csv` that the user puts into the folder: subject, age
(years) and optionally sex and race, one line per person.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, number, sex
from cilf.datasets.lists import records

_NAME = re.compile(r"(\d{3})_(?:cam\d(?:_\d)?|frontal|[lr]\d)\.[a-z]+", re.IGNORECASE)


def read(folder: Path) -> Labelled:
    """Reads SCface below a folder, with the ages in `subjects.csv`.

    Raises:
        UsageError: no image has a name like SCface's, or there is no such table.
    """
    images = ImageFolder(folder)
    if not any(_NAME.fullmatch(path.rpartition("/")[2]) for path in images.paths):
        raise images.refusal("SCface", "images named like 001_cam1_1.jpg and 001_frontal.jpg")
    tables = images.lists("subjects.csv")
    if not tables:
        raise images.refusal("SCface with its ages", "subjects.csv with the columns subject, age, optionally sex, race")
    collector = Collector("scface", images.problems)
    known: dict[str, dict[str, str]] = {}
    for record in records(tables[0], "subject", "age"):
        subject = record["subject"].zfill(3)
        if known.setdefault(subject, record) != record:
            collector.problem(f"{tables[0].name}: {subject}", Reason.DUPLICATE, "the subject's first line is used")
    for path in images.distinct(collector):
        name = _NAME.fullmatch(path.rpartition("/")[2])
        if name is None:
            collector.problem(path, Reason.NAME)
        elif (person := known.get(name[1])) is None:
            collector.problem(path, Reason.NO_AGE, f"no subject {name[1]} in {tables[0].name}")
        elif person["age"] and number(person["age"]) is None:
            collector.problem(path, Reason.LABEL, f"age {person['age']!r}")
        else:
            race = person.get("race") or None
            collector.add(Face(path, number(person["age"]), sex=sex(person.get("sex")), race=race, subject=name[1]))
    return collector.labelled()
