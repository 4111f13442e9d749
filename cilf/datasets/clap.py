"""ChaLearn Looking at People: apparent ages, given as the mean and the standard deviation of many people's guesses.

CLAP2016 has a list per split, `train_gt.csv` (image, mean, stdv). APPA-REAL has the same photographs with
`gt_avg_train.csv`, which adds the real age, and for every photograph a crop of the face, `000001.jpg_face.jpg`, which
is used if it exists. CLAP2015's lists have various names and often no header.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cilf.datasets.image_folder import ImageFolder
from cilf.datasets.labels import Collector, Face, Labelled, Reason, number, split_name
from cilf.datasets.lists import records, rows

_SPLITS = {"train": ("train",), "val": ("valid", "validation", "val"), "test": ("test",)}
"""Splits, and the names of their image folders."""
_FILE, _MEAN, _STD = ("file_name", "filename", "image", "name"), ("apparent_age_avg", "mean", "age"), ("stdv", "std")


def read_clap2016(folder: Path) -> Labelled:
    """Reads CLAP2016's apparent ages below a folder, from its own lists or from APPA-REAL's.

    Raises:
        UsageError: there are no such lists, or one cannot be read.
    """
    images = ImageFolder(folder)
    lists = images.lists("*_gt.csv") or images.lists("gt_avg_*.csv")
    if not lists:
        raise images.refusal("CLAP2016", "train_gt.csv, valid_gt.csv, test_gt.csv, or APPA-REAL's gt_avg_train.csv ...")
    return _read("clap2016", images, lists)


def read_clap2015(folder: Path) -> Labelled:
    """Reads CLAP2015's apparent ages below a folder, from lists of image, mean and standard deviation.

    Raises:
        UsageError: there are no such lists, or one cannot be read.
    """
    images = ImageFolder(folder)
    lists = [file for kind in ("*.csv", "*.txt") for file in images.lists(kind) if _holds_ages(file)]
    if not lists:
        raise images.refusal("CLAP2015", "lists (.csv, .txt) of image, mean and standard deviation")
    return _read("clap2015", images, lists)


def read_appa_real(folder: Path) -> Labelled:
    """Reads APPA-REAL's real ages below a folder, in whole years.

    Raises:
        UsageError: there are no such lists, or one cannot be read.
    """
    images = ImageFolder(folder)
    lists = images.lists("gt_avg_*.csv")
    if not lists:
        raise images.refusal("APPA-REAL", "gt_avg_train.csv, gt_avg_valid.csv and gt_avg_test.csv")
    collector, folders = Collector("appa-real", images.problems), _folders(images)
    for file in lists:
        for record in records(file, "file_name", "real_age"):
            _add(images, folders, collector, record["file_name"], record["real_age"], None, _split(file))
    return collector.labelled()


def _read(dataset: str, images: ImageFolder, lists: list[Path]) -> Labelled:
    collector, folders = Collector(dataset, images.problems), _folders(images)
    for file in lists:
        for name, mean, std, split in _lines(file):
            _add(images, folders, collector, name, mean, std, split_name(split) if split else _split(file))
    return collector.labelled()


def _add(
    images: ImageFolder,
    folders: dict[str | None, str],
    collector: Collector,
    name: str,
    age: str,
    std: str | None,
    split: str | None,
) -> None:
    place = folders.get(split, "")
    path = images.find(f"{place}{name}_face.jpg") or images.find(f"{place}{name}")
    if path is None:
        images.missing(name, collector)
    elif number(age) is None:
        collector.problem(path, Reason.LABEL if age else Reason.NO_AGE, f"age {age!r}" if age else "")
    else:
        spread = number(std) if std else None
        if std and spread is None:
            collector.problem(path, Reason.LABEL, f"standard deviation {std!r}")
        else:
            collector.add(Face(path, age=number(age), age_std=spread, split=split))


def _lines(file: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yields image, mean, standard deviation and split of each line; the last two may be empty."""
    first = [cell.strip().lower() for cell in next(rows(file), [])]
    if len(first) > 1 and number(first[1]) is not None:
        for line in rows(file):
            cells = [*(cell.strip() for cell in line), "", "", ""]
            yield cells[0], cells[1], cells[2], cells[3]
        return
    named = [next((name for name in names if name in first), names[0]) for names in (_FILE, _MEAN)]
    std = next((name for name in (*_STD, "apparent_age_std") if name in first), "")
    for record in records(file, *named):
        yield record[named[0]], record[named[1]], record.get(std, ""), record.get("database", record.get("split", ""))


def _holds_ages(file: Path) -> bool:
    """Whether one of a file's first two lines has an image's name and then a number."""
    for place, line in enumerate(rows(file)):
        if len(line) >= 2 and number(line[1]) is not None:
            return line[0].strip().lower().endswith((".jpg", ".jpeg", ".png"))
        if place:
            break
    return False


def _split(file: Path) -> str | None:
    name = file.name.lower()
    return next((split for split in _SPLITS if split in name), None)


def _folders(images: ImageFolder) -> dict[str | None, str]:
    """The image folder of each split that has one: images of different splits may have the same name."""
    there = {folder.lower() for path in images.paths for folder in path.split("/")[:-1]}
    found = {split: next((name for name in names if name in there), None) for split, names in _SPLITS.items()}
    return {split: f"{name}/" for split, name in found.items() if name}
