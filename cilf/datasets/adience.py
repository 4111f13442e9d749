"""Adience: five lists of faces, `fold_0_data.txt` to `fold_4_data.txt`, with age groups instead of ages.

The columns user, face and image of a list give the path of the crop, `aligned/USER/landmark_aligned_face.FACE.IMAGE` or
`faces/USER/coarse_tilt_aligned_face.FACE.IMAGE`. If both kinds are in the folder, the aligned crops are used. About
1,300 labels are not one of the eight groups: they are single years, or have other bounds.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, sex
from cilf.datasets.lists import records

_GROUPS = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
_BOUNDS = {(25, 23): (25, 32), (8, 23): (8, 12), (27, 32): (25, 32), (38, 42): (38, 43), (38, 48): (38, 43)}
"""Pairs in the published lists that are not one of the groups -> the group to use."""
_KINDS = ("landmark_aligned_face", "coarse_tilt_aligned_face")
_COLUMNS = ("user_id", "original_image", "face_id", "age", "gender")


def read(folder: Path) -> Labelled:
    """Reads Adience below a folder: its lists, and the crops at any depth. A row's split is its fold, such as `fold_0`.

    Raises:
        UsageError: there are no lists, or one cannot be read.
    """
    images = ImageFolder(folder)
    lists = images.lists("fold_[0-9]_data.txt")
    kind = next((kind for kind in _KINDS if any(f"/{kind}." in f"/{path}" for path in images.paths)), None)
    if not lists or kind is None:
        raise images.refusal("Adience", f"fold_0_data.txt to fold_4_data.txt and images {' or '.join(_KINDS)}.*.jpg")
    collector = Collector("adience", images.problems)
    for file in lists:
        for record in records(file, *_COLUMNS):
            name = f"{record['user_id']}/{kind}.{record['face_id']}.{record['original_image']}"
            if (path := images.find(name)) is None:
                images.missing(name, collector)
            else:
                _add(path, record, file.name.removesuffix("_data.txt").lower(), collector)
    for path in images.unlisted():
        if f"/{kind}." in f"/{path}":
            collector.problem(path, Reason.UNLISTED)
        elif not any(f"/{other}." in f"/{path}" for other in _KINDS):
            collector.problem(path, Reason.NAME, f"expected {kind}.FACE.IMAGE.jpg")
    return collector.labelled()


def _add(path: str, record: dict[str, str], fold: str, collector: Collector) -> None:
    label = record["age"]
    if label in ("", "None"):
        collector.problem(path, Reason.NO_AGE)
        return
    years = tuple(int(year) for year in re.findall(r"\d+", label))
    group = _group(years)
    if group is None:
        collector.problem(path, Reason.LABEL, f"age {label!r}")
        return
    if years != group:
        collector.problem(path, Reason.ODD_GROUP, f"{label} as {group[0]}-{group[1]}")
    low, high = (float(year) for year in group)
    face = Face(path, age_low=low, age_high=high, sex=sex(record["gender"]), subject=record["face_id"], split=fold)
    collector.add(face)


def _group(years: tuple[int, ...]) -> tuple[int, int] | None:
    """The group of a label; for a single year in a gap between groups, the group with the nearest bound."""
    if len(years) == 1 and years[0] <= 100:
        return min(_GROUPS, key=lambda group: max(group[0] - years[0], years[0] - group[1], 0))
    if len(years) == 2 and (found := (years[0], years[1])) in _GROUPS:
        return found
    return _BOUNDS.get((years[0], years[1])) if len(years) == 2 else None
