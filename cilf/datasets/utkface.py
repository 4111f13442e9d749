"""UTKFace: `25_1_2_20170116174525125.jpg`, or `.jpg.chip.jpg` where aligned, is age, sex, race, and when it was found.

Files as published lack a field in a few names; they are listed. Nothing tells who is on a photograph.
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
    """UTKFace below a folder: the photographs, or the aligned crops. Of a face that is there twice the first counts.

    Raises:
        UsageError: no image there is named as UTKFace's are.
    """
    images = ImageFolder(folder)
    collector = Collector("utkface", images.problems)
    seen: dict[str, str] = {}
    for path in images.paths:
        file = path.rpartition("/")[2]
        name = _NAME.fullmatch(file)
        face = file.partition(".")[0]
        if not name:
            fields = "age, sex, race and date are not all there" if _FIELDS.match(file) else ""
            collector.problem(path, Reason.NAME, fields)
        elif (first := seen.setdefault(face, path)) != path:
            collector.problem(path, Reason.DUPLICATE, f"the face of {first}")
        else:
            collector.add(Face(path, age=float(name[1]), sex=_SEXES[int(name[2])], race=_RACES[int(name[3])]))
    if not seen:
        raise images.refusal("UTKFace", "images named like 25_1_2_20170116174525125.jpg")
    return collector.labelled()
