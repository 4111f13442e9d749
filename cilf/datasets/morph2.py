"""MORPH-II: `070081_2F36.JPG` is subject 070081, photograph 2, female, 36 years.

Its table, `morph_2008_nonCommercial.csv`, adds race, birth date and the date of the photograph. For some subjects, the
table's birth dates, sexes and races are inconsistent. If it contradicts a file's name, the name counts, as in the
published splits.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, number, sex
from cilf.datasets.lists import records

_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d+)\.[a-z]+", re.IGNORECASE)
_DATES = ("%m/%d/%Y", "%Y-%m-%d", "%m/%d/%y")


def read(folder: Path) -> Labelled:
    """Reads MORPH-II below a folder, with its table or, without one, from the file names alone.

    Raises:
        UsageError: no image has a name like MORPH-II's.
    """
    images = ImageFolder(folder)
    collector = Collector("morph2", images.problems)
    if not any(_NAME.fullmatch(path.rpartition("/")[2]) for path in images.paths):
        raise images.refusal("MORPH-II", "images named like 070081_2F36.JPG")
    tables = images.lists("morph*noncommercial*.csv")
    if not tables:
        for path in images.distinct(collector):
            if face := _named(path, collector):
                collector.add(face)
        return collector.labelled()
    for record in records(tables[0], "photo", "id_num"):
        photo = record["photo"]
        found = images.find(photo) or images.find(photo.rpartition("/")[2])
        if found is None:
            images.missing(photo, collector)
        elif face := _named(found, collector):
            collector.add(_completed(face, record, collector))
    for path in images.unlisted():
        collector.problem(path, Reason.UNLISTED, f"not in {tables[0].name}")
    return collector.labelled()


def _named(path: str, collector: Collector) -> Face | None:
    """The labels in a file's name; None if the name does not fit the pattern."""
    name = _NAME.fullmatch(path.rpartition("/")[2])
    if not name:
        collector.problem(path, Reason.NAME, "expected SUBJECT_PHOTOGRAPH, M or F, AGE.JPG")
        return None
    return Face(path, age=float(name[4]), sex=sex(name[3]), subject=name[1].lstrip("0"))


def _completed(face: Face, record: dict[str, str], collector: Collector) -> Face:
    """Adds the table's race and birth date to a face, and lists contradictions between the table and the name."""
    told: dict[str, tuple[object, object]] = {
        "subject": (face.subject, record["id_num"].lstrip("0")),
        "sex": (face.sex, sex(record.get("gender"))),
        "age": (face.age, number(record.get("age", ""))),
    }
    for what, (ours, theirs) in told.items():
        if theirs is not None and theirs != ours:
            collector.problem(face.path, Reason.OWN_NAME, f"{what} {theirs} in the table, {ours} in the name")
    birth, taken = (_date(record.get(column, "")) for column in ("dob", "doa"))
    for column, day in (("dob", birth), ("doa", taken)):
        if day is None and record.get(column):
            collector.problem(face.path, Reason.DATES, f"{column} {record[column]!r} is not a date")
    if birth and taken:
        if birth > taken and 2000 < birth.year < 2069:  # A two-digit year leaves the century open.
            birth = birth.replace(year=birth.year - 100)
        years = taken.year - birth.year - ((taken.month, taken.day) < (birth.month, birth.day))
        if face.age is not None and abs(years - face.age) > 1:
            collector.problem(face.path, Reason.DATES, f"{face.age:g} years, {years} from {birth} to {taken}")
    return replace(face, race=record.get("race") or None, birth=birth.isoformat() if birth else None)


@lru_cache(maxsize=100_000)
def _date(text: str) -> date | None:
    for form in _DATES:
        try:
            return datetime.strptime(text.split(" ")[0], form).date()
        except ValueError:
            continue
    return None
