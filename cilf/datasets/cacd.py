"""CACD (CACD2000): `53_Bill_Pullman_0001.jpg`, and `celebrity2000_meta.mat` with age, identity, birth, year and rank.

Ages are the year of the photograph minus the year of birth, so they may be wrong by a year, or more: the years come
from a search engine. The published splits depend on a celebrity's rank: test 3 to 5, validation 1 and 2, training all
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, number
from cilf.errors import UsageError

_NAME = re.compile(r"(\d+)_(.+)_(\d{4})\.[a-z]+", re.IGNORECASE)
_FIELDS = ("name", "age", "identity", "birth", "year", "rank")


def read(folder: Path) -> Labelled:
    """Reads CACD below a folder: its .mat file, and the images at any depth.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    images = ImageFolder(folder)
    found = images.lists("celebrity2000*.mat")
    if not found:
        raise images.refusal("CACD", "celebrity2000_meta.mat and images named like 53_Bill_Pullman_0001.jpg")
    collector = Collector("cacd", images.problems)
    for record in _records(found[0]):
        _add(record, images, collector)
    for path in images.unlisted():
        collector.problem(path, Reason.UNLISTED, f"not in {found[0].name}")
    return collector.labelled()


def _add(record: dict[str, Any], images: ImageFolder, collector: Collector) -> None:
    name = str(record["name"])
    path = images.find(name) or images.find(_repaired(name))
    if path is None:
        images.missing(name, collector)
        return
    age, identity, birth, year, rank = (number(record[field]) for field in _FIELDS[1:])
    own = _NAME.fullmatch(path.rpartition("/")[2])
    if own is None:
        collector.problem(path, Reason.NAME, "expected AGE_NAME_NUMBER.jpg")
        return
    if age is not None and float(own[1]) != age:
        collector.problem(path, Reason.OWN_NAME, f"age {age:g} in the .mat file, {float(own[1]):g} in the name")
        age = float(own[1])
    if age is not None and birth is not None and year is not None and year - birth != age:
        collector.problem(path, Reason.DATES, f"{age:g} years, {year:g} minus {birth:g} is {year - birth:g}")
    split = None if rank is None else "train" if rank > 5 else "val" if rank <= 2 else "test"
    subject, born = (None if value is None else f"{value:g}" for value in (identity, birth))
    collector.add(Face(path, age=age, subject=subject, split=split, birth=born))


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of the photographs in the .mat file."""
    from scipy.io import loadmat

    try:
        images = loadmat(file, squeeze_me=True, struct_as_record=False)["celebrityImageData"]
        columns = [np.atleast_1d(getattr(images, field)) for field in _FIELDS]
    except Exception as error:
        raise UsageError(
            f"cannot read {file} ({type(error).__name__}: {error}): expected a MATLAB file before 7.3 with a struct "
            f"celebrityImageData of {', '.join(_FIELDS)}"
        ) from error
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(f"{field} {len(column)}" for field, column in zip(_FIELDS, columns, strict=True))
        raise UsageError(f"{file} has columns of different lengths: {lengths}")
    return (dict(zip(_FIELDS, values, strict=True)) for values in zip(*columns, strict=True))


def _repaired(name: str) -> str:
    """Undoes the decoding of a UTF-8 name as Latin-1."""
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name
