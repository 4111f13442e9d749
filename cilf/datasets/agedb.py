"""AgeDB: the file name `12083_ElsaMartinelli_74_f.jpg` contains a number, a name, an age and a sex."""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, sex

_NAME = re.compile(r"(\d+)_([^_]+)_(\d+)_([mf])\.[a-z]+", re.IGNORECASE)


def read(folder: Path) -> Labelled:
    """Reads AgeDB below a folder. The subject is the name; numbers are unique.

    Raises:
        UsageError: no image has a name like AgeDB's.
    """
    images = ImageFolder(folder)
    collector = Collector("agedb", images.problems)
    numbers: dict[int, str] = {}
    for path in images.paths:
        name = _NAME.fullmatch(path.rpartition("/")[2])
        if not name:
            collector.problem(path, Reason.NAME)
        elif (first := numbers.setdefault(int(name[1]), path)) != path:
            collector.problem(path, Reason.DUPLICATE, f"same number {int(name[1])} as {first}")
        else:
            collector.add(Face(path, age=float(name[3]), sex=sex(name[4]), subject=name[2]))
    if not numbers:
        raise images.refusal("AgeDB", "images named like 12083_ElsaMartinelli_74_f.jpg")
    return collector.labelled()
