"""FairFace: `fairface_label_train.csv` and `fairface_label_val.csv`, with age groups, gender and race."""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, sex
from cilf.datasets.lists import records

_GROUP = re.compile(r"(\d+)-(\d+)|more than (\d+)", re.IGNORECASE)


def read(folder: Path) -> Labelled:
    """Reads FairFace below a folder, with its lists and the images `train/1.jpg`, `val/1.jpg` ...

    Raises:
        UsageError: there are no lists, or one lacks a column.
    """
    images = ImageFolder(folder)
    lists = images.lists("fairface_label_*.csv")
    if not lists:
        raise images.refusal("FairFace", "fairface_label_train.csv and fairface_label_val.csv")
    collector = Collector("fairface", images.problems)
    for file in lists:
        split = file.stem.lower().rpartition("_")[2]
        for record in records(file, "file", "age", "gender", "race"):
            path, group = images.find(record["file"]), _GROUP.fullmatch(record["age"])
            if path is None:
                images.missing(record["file"], collector)
            elif group is None:
                collector.problem(path, Reason.LABEL, f"age {record['age']!r}")
            else:
                low, high = float(group[1] or group[3]), float(group[2]) if group[2] else None
                race = record["race"] or None
                collector.add(Face(path, age_low=low, age_high=high, sex=sex(record["gender"]), race=race, split=split))
    for path in images.unlisted():
        collector.problem(path, Reason.UNLISTED)
    return collector.labelled()
