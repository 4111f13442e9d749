"""UTKFace: `25_1_2_20170116174525125.jpg` (aligned: `.jpg.chip.jpg`) is age, sex, race and the time of collection.

A few published file names lack a field; these files are reported as problems. The persons shown are not known.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason

_NAME = re.compile(r"(\d+)_([01])_([0-4])_(\d+)\.[a-z.]+", re.IGNORECASE)
_FIELDS = re.compile(r"\d+_.*\d{17}")
_SEXES = ("male", "female")
_RACES = ("White", "Black", "Asian", "Indian", "Others")


def read(folder: Path) -> Labelled:
    """Reads UTKFace below a folder, the photographs or the aligned crops. Of duplicate faces the first is used.

    Raises:
        UsageError: no image has a name like UTKFace's.
    """
    images = ImageFolder(folder)
    collector = Collector("utkface", images.problems)
    seen: dict[str, str] = {}
    for path in images.paths:
        file = path.rpartition("/")[2]
        name = _NAME.fullmatch(file)
        face = file.partition(".")[0]
        if not name:
            fields = "age, sex, race or date is missing" if _FIELDS.match(file) else ""
            collector.problem(path, Reason.NAME, fields)
        elif (first := seen.setdefault(face, path)) != path:
            collector.problem(path, Reason.DUPLICATE, f"same face as {first}")
        else:
            collector.add(Face(path, age=float(name[1]), sex=_SEXES[int(name[2])], race=_RACES[int(name[3])]))
    if not seen:
        raise images.refusal("UTKFace", "images named like 25_1_2_20170116174525125.jpg")
    return collector.labelled()
