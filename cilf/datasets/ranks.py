"""Ordinal data other than ages, with a folder per rank: `1930s/0001.jpg`, `1940s/0002.jpg` or `1/` ... `5/`."""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import OLDEST, Collector, Face, Labelled, Reason
from cilf.errors import UsageError

_NUMBER = re.compile(r"((?:^-)?\d+(?:\.\d+)?)")


def read(folder: Path) -> Labelled:
    """Reads images below one sub-folder per rank, in natural order: `age` is the number of the rank, starting at 0.

    Images in deeper folders belong to the rank above them. A folder without images is not a rank.

    Raises:
        UsageError: there are fewer than two ranks, or more than labels can hold.
    """
    images = ImageFolder(folder)
    collector = Collector("ranks", images.problems)
    there = {path.partition("/")[0] for path in images.paths if "/" in path and not path.startswith(".")}
    if len(there) < 2:
        raise images.refusal("a folder of ranks", "a sub-folder of images for each of at least two ranks")
    if len(there) > OLDEST + 1:
        raise UsageError(f"{folder} has {len(there)} ranks: expected at most {OLDEST + 1}, numbered 0 to {OLDEST}")
    names = sorted(there, key=natural)
    number = {name: float(rank) for rank, name in enumerate(names)}
    for path in images.paths:
        rank, divider, _ = path.partition("/")
        if divider and rank in number:
            collector.add(Face(path, age=number[rank]))
        else:
            collector.problem(path, Reason.NAME, "expected RANK/FILE")
    for name in images.folders:
        if name not in number:
            collector.problem(name, Reason.NO_IMAGE)
    return collector.labelled(tuple(names))


def natural(name: str) -> tuple[object, ...]:
    """A sort key in which numbers inside a name count by their value: 9 before 10, 1930s before 1940s."""
    words = _NUMBER.split(name.casefold())
    return (*(float(word) if place % 2 else word for place, word in enumerate(words)), name)
