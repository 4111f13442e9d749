"""FG-NET: `001A02.JPG` is subject 001 at 2 years; a letter distinguishes photographs of one year (`010A07b.JPG`).

The images are photographs. `points/001a02.pts` has 68 landmarks of the face; their bounding box is the face's box.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason

_NAME = re.compile(r"(\d{3})a(\d{2})[a-z]?\.[a-z]+", re.IGNORECASE)
_POINTS = re.compile(r"\{([^{}]*)\}")

Box = tuple[float, float, float, float]


def read(folder: Path) -> Labelled:
    """Reads FG-NET below a folder; its images may be at any depth. FG-NET has neither sex nor race.

    Raises:
        UsageError: no image has a name like FG-NET's.
    """
    images = ImageFolder(folder)
    collector = Collector("fgnet", images.problems)
    landmarks = {file.stem.lower(): file for file in images.lists("*.pts")}
    fitting = 0
    for path in images.distinct(collector):
        file_name = path.rpartition("/")[2]
        if name := _NAME.fullmatch(file_name):
            fitting += 1
            file = landmarks.get(file_name.rpartition(".")[0].lower())
            box = _box(file) if file else None
            if file and not box:
                collector.problem(path, Reason.BOX, f"no points in {file.name}")
            collector.add(Face(path, age=float(name[2]), subject=name[1], box=box))
        else:
            collector.problem(path, Reason.NAME)
    if not fitting:
        raise images.refusal("FG-NET", "images named like 001A02.JPG")
    return collector.labelled()


def _box(file: Path) -> Box | None:
    """The bounding box of the points in a file, which lists x and y of each between braces; None if there are none."""
    try:
        points = _POINTS.search(file.read_text(encoding="utf-8", errors="replace"))
        numbers = [float(number) for number in points[1].split()] if points else []
    except (OSError, ValueError):
        return None
    across, down = numbers[::2], numbers[1::2]
    return (min(across), min(down), max(across), max(down)) if numbers and len(across) == len(down) else None
