"""IMDB-CLEAN: `imdb_train_new_1024.csv`, and the same for valid and test, with age, gender and the face's box.

Its images are IMDB-WIKI's: the name `01/nm0000001_rm124825600_1899-5-10_1968.jpg` contains the person, the photograph,
the birth date and the year of the photograph.
"""

from __future__ import annotations

import re
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, number, sex
from cilf.datasets.lists import records

_LIST = re.compile(r"imdb_(train|valid|test)_.*")
_NAME = re.compile(r"(nm\d+)_(rm\d+)_((\d+)-\d+-\d+)_(\d{4})\.[a-z]+", re.IGNORECASE)
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def read(folder: Path) -> Labelled:
    """Reads IMDB-CLEAN below a folder: its lists, and the images at any depth.

    Raises:
        UsageError: there are no lists, or one lacks a column.
    """
    images = ImageFolder(folder)
    lists = {file: found[1] for file in images.lists("imdb_*.csv") if (found := _LIST.fullmatch(file.name.lower()))}
    if not lists:
        raise images.refusal("IMDB-CLEAN", "imdb_train_new_1024.csv, imdb_valid_new_1024.csv, imdb_test_new_1024.csv")
    collector = Collector("imdb-clean", images.problems)
    for file, split in lists.items():
        for record in records(file, "filename", "age", "gender", *_SIDES):
            if (path := images.find(record["filename"])) is None:
                images.missing(record["filename"], collector)
            else:
                _add(path, record, "val" if split == "valid" else split, collector)
    return collector.labelled()


def _add(path: str, record: dict[str, str], split: str, collector: Collector) -> None:
    name = _NAME.fullmatch(path.rpartition("/")[2])
    sides = [side for column in _SIDES if (side := number(record[column])) is not None]
    age = number(record["age"])
    if name is None:
        collector.problem(path, Reason.NAME, "expected PERSON_PHOTOGRAPH_BIRTH_YEAR.jpg")
    elif len(sides) != len(_SIDES) or age is None:
        found = ", ".join(f"{column} {record[column]!r}" for column in ("age", *_SIDES))
        collector.problem(path, Reason.LABEL, found)
    else:
        years = int(name[5]) - int(name[4])
        if not years - 1 <= age <= years:
            collector.problem(path, Reason.DATES, f"{age:g} years, born {name[3]}, taken in {name[5]}")
        box = (sides[0], sides[1], sides[2], sides[3])
        face = Face(path, age, sex=sex(record["gender"]), subject=name[1], split=split, box=box, birth=name[3])
        collector.add(face)
