"""AFAD: `25/112/638660-1.jpg` is 25 years, 112 for female (111: male), and the number of a photograph."""

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
    """AFAD below a folder. The number is a photograph's, which proves no identity: there are no subjects.

    Where its list `AFAD-Full.txt` is there too, what is missing of it is found out.

    Raises:
        UsageError: no image there lies as AFAD's do, or the list cannot be read.
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
