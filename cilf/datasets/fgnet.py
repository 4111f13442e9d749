"""FG-NET: `001A02.JPG` is subject 001 at 2 years; a letter tells photographs of one year apart (`010A07b.JPG`)."""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason

_NAME = re.compile(r"(\d{3})a(\d{2})[a-z]?\.[a-z]+", re.IGNORECASE)


def read(folder: Path) -> Labelled:
    """FG-NET below a folder: its images, wherever they lie. There is neither sex nor race.

    Raises:
        UsageError: no image there is named as FG-NET's are.
    """
    images = ImageFolder(folder)
    collector = Collector("fgnet", images.problems)
    fitting = 0
    for path in images.distinct(collector):
        if name := _NAME.fullmatch(path.rpartition("/")[2]):
            fitting += 1
            collector.add(Face(path, age=float(name[2]), subject=name[1]))
        else:
            collector.problem(path, Reason.NAME)
    if not fitting:
        raise images.refusal("FG-NET", "images named like 001A02.JPG")
    return collector.labelled()
