"""CACD: a MATLAB file next to images whose names have accents."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from scipy.io import savemat

from cilf.errors import UsageError

LINES = [  # name, age, identity, birth, year, rank
    ("53_Bill_Pullman_0001.jpg", 53, 1, 1953, 2006, 6),
    ("54_Bill_Pullman_0002.jpg", 54, 1, 1954, 2008, 6),  # born a year later
    ("24_Clémence_Poésy_0002.jpg", 24, 2, 1982, 2006, 3),  # decomposed on disk
    ("42_Renée_Zellweger_0004.jpg", 42, 3, 1969, 2011, 1),  # taken for Latin-1 in the list
    ("30_Gone_Girl_0001.jpg", 30, 4, 1980, 2010, 7),  # missing
    ("31_Odd_One_0001.jpg", 33, 5, 1980, 2011, 7),  # against its name
    ("32_Odd_One_0002.jpg", 32, 5, 1980, 2004, 7),  # against its dates
    ("nobody.jpg", 32, 6, 1980, 2012, 7),  # no such pattern
    ("200_Old_Man_0001.jpg", 200, 7, 1810, 2010, 7),  # nobody's age
    ("53_Bill_Pullman_0001.jpg", 53, 1, 1953, 2006, 6),  # twice
]


def column(values: list, text: bool = False) -> np.ndarray:
    """An array in MATLAB's layout: one column, as cells if the values are text."""
    if not text:
        return np.array(values, dtype=float)[:, None]
    cells = np.empty((len(values), 1), object)
    cells[:, 0] = values
    return cells


def save(file, lines: list[tuple]) -> None:
    names, *numbers = (list(values) for values in zip(*lines, strict=True))
    listed = [name.encode().decode("latin-1") if "Ren" in name else name for name in names]
    fields = zip(("age", "identity", "birth", "year", "rank"), numbers, strict=True)
    images = {name: column(values) for name, values in fields} | {"name": column(listed, text=True)}
    people = {"name": column(["Bill Pullman"], text=True), "identity": column([1])}
    savemat(file, {"celebrityImageData": images, "celebrityData": people})


def test_problems_are_reported(lay_out, read, problems):
    on_disk = [unicodedata.normalize("NFD", name) if "Cl" in name else name for name, *_ in LINES]
    folder = lay_out(*(f"CACD2000/{name}" for name in on_disk if "Gone" not in name), "CACD2000/20_New_Face_0001.jpg")
    save(folder / "celebrity2000_meta.mat", LINES)
    labelled = read("cacd", folder)
    assert {(path.removeprefix("CACD2000/"), reason) for path, reason in problems(labelled)} == {
        ("53_Bill_Pullman_0001.jpg", "BIRTH"),
        ("54_Bill_Pullman_0002.jpg", "BIRTH"),
        ("53_Bill_Pullman_0001.jpg", "DUPLICATE"),
        ("30_Gone_Girl_0001.jpg", "MISSING"),
        ("31_Odd_One_0001.jpg", "OWN_NAME"),
        ("32_Odd_One_0002.jpg", "DATES"),
        ("nobody.jpg", "NAME"),
        ("200_Old_Man_0001.jpg", "AGE"),
        ("20_New_Face_0001.jpg", "UNLISTED"),
    }
    rows = labelled.table.to_pylist()
    assert [row["age"] for row in rows] == [24, 31, 32, 42, 53, 54]
    assert [row["split"] for row in rows] == ["test", "train", "train", "val", "train", "train"]
    assert [row["subject"] for row in rows] == ["2", "5", "5", "3", "1", "1"]


def test_one_photograph(lay_out, read):
    folder = lay_out("53_Bill_Pullman_0001.jpg")
    save(folder / "celebrity2000_meta.mat", LINES[:1])
    assert read("cacd", folder).table["age"].to_pylist() == [53]


@pytest.mark.parametrize("content", [b"no MATLAB", b""])
def test_a_broken_list(lay_out, read, content):
    folder = lay_out("53_Bill_Pullman_0001.jpg")
    (folder / "celebrity2000_meta.mat").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*celebrity2000_meta\.mat"):
        read("cacd", folder)
