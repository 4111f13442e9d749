"""FACES, from the Max Planck Institute for Human Development: `004_o_m_a_a.jpg`.

The fields are the person, the age group (young, middle-aged, old), the sex, the emotion and the set. The groups are
19-31, 39-55 and 69-80 years (Ebner, Riediger and Lindenberger 2010, "FACES - a database of facial expressions"); exact
ages are not part of the images' release.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, sex

_NAME = re.compile(r"(\d{3})_([ymo])_([mf])_[adfhns]_[ab]\.[a-z]+", re.IGNORECASE)
_GROUPS = {"y": (19.0, 31.0), "m": (39.0, 55.0), "o": (69.0, 80.0)}


def read(folder: Path) -> Labelled:
    """Reads FACES below a folder.

    Raises:
        UsageError: no image has a name like those of FACES.
    """
    images = ImageFolder(folder)
    collector = Collector("faces", images.problems)
    fitting = 0
    for path in images.distinct(collector):
        if name := _NAME.fullmatch(path.rpartition("/")[2]):
            fitting += 1
            low, high = _GROUPS[name[2].lower()]
            collector.add(Face(path, age_low=low, age_high=high, sex=sex(name[3]), subject=name[1]))
        else:
            collector.problem(path, Reason.NAME)
    if not fitting:
        raise images.refusal("FACES", "images named like 004_o_m_a_a.jpg")
    return collector.labelled()
