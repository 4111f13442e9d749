"""AFAD: `25/112/638660-1.jpg` is the age, 25 years, the sex, 112 for female (111: male), and a photograph's number."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason
from cilf.datasets.lists import rows

_PATH = re.compile(r"(?:.*/)?(\d+)/(111|112)/(\d+-\d+)\.[a-z]+", re.IGNORECASE)
_SEXES = {"111": "male", "112": "female"}


def read(folder: Path) -> Labelled:
    """Reads AFAD below a folder. The number identifies a photograph, not a person, so there are no subjects.

    If its list `AFAD-Full.txt` is in the folder, listed images that are missing are reported.

    Raises:
        UsageError: no image has a path like AFAD's, or the list cannot be read.
    """
    images = ImageFolder(folder)
    collector = Collector("afad", images.problems)
    named: dict[str, list[Face]] = defaultdict(list)
    for path in images.paths:
        if parts := _PATH.fullmatch(path):
            named[parts[3]].append(Face(path, age=float(parts[1]), sex=_SEXES[parts[2]]))
        else:
            collector.problem(path, Reason.NAME, "expected AGE/111 or 112/NUMBER-N.jpg")
    if not named:
        raise images.refusal("AFAD", "images in folders like 25/111 and 25/112")
    for faces in named.values():
        found = ", ".join(f"{face.age:g} {face.sex}" for face in faces)
        for face in faces:
            collector.add(face)
            if len(faces) > 1:
                collector.problem(face.path, Reason.REPEATED, found)
    for line in (line for file in images.lists("afad-*.txt") for line in rows(file)):
        if not images.find(line[0]):
            images.missing(line[0], collector)
    return collector.labelled()
