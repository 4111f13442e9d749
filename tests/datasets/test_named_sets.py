"""Data sets whose labels are in the file names."""

from __future__ import annotations

import os
from typing import get_args

import pytest

from cilf.config import DataSetName
from cilf.datasets.labels import READERS
from cilf.errors import UsageError


def columns(labelled, *names: str) -> list[tuple]:
    return [tuple(row[name] for name in names) for row in labelled.table.to_pylist()]


def test_fgnet(lay_out, read, problems):
    labelled = read("fgnet", lay_out("images/001a02.jpg", "images/010A07b.JPG", "images/02A1.JPG", "x/010A07B.jpg"))
    assert columns(labelled, "path", "age", "subject") == [
        ("images/001a02.jpg", 2, "001"),
        ("images/010A07b.JPG", 7, "010"),
    ]
    assert problems(labelled) == {("images/02A1.JPG", "NAME"), ("x/010A07B.jpg", "DUPLICATE")}


def test_fgnet_boxes_are_bounding_boxes_of_the_landmarks(lay_out, read, problems):
    folder = lay_out("images/001A02.JPG", "images/001A05.JPG", "images/001A08.JPG", "images/001A10.JPG")
    (folder / "points").mkdir()
    (folder / "points" / "001a02.pts").write_text("version: 1\nn_points: 3\n{\n30 40.5\n90.25 50\n60 120\n}\n")
    (folder / "points" / "001a05.pts").write_text("version: 1\nn_points: 3\n{\n30 40\n90\n}\n")
    (folder / "points" / "001a08.pts").write_text("version: 1\n")
    labelled = read("fgnet", folder)
    assert columns(labelled, "age", "box") == [(2, [30, 40.5, 90.25, 120]), (5, None), (8, None), (10, None)]
    assert problems(labelled) == {("images/001A05.JPG", "BOX"), ("images/001A08.JPG", "BOX")}


def test_utkface(lay_out, read, problems):
    labelled = read(
        "utkface",
        lay_out(
            "part1/25_1_2_20170116174525125.jpg",
            "crop/25_1_2_20170116174525125.jpg.chip.jpg",
            "crop/28_0_4_201701161846515488.jpg.chip.jpg",
            "crop/39_1_20170116174525125.jpg.chip.jpg",
            "crop/61_3_20170109150557335.jpg",
            "crop/24_0__20170116220224657.jpg",
            "crop/900_0_0_20170116220224657.jpg",
        ),
    )
    assert columns(labelled, "age", "sex", "race", "subject") == [
        (25, "female", "Asian", None),
        (28, "male", "Others", None),
    ]
    assert problems(labelled) == {
        ("part1/25_1_2_20170116174525125.jpg", "DUPLICATE"),
        ("crop/39_1_20170116174525125.jpg.chip.jpg", "NAME"),
        ("crop/61_3_20170109150557335.jpg", "NAME"),
        ("crop/24_0__20170116220224657.jpg", "NAME"),
        ("crop/900_0_0_20170116220224657.jpg", "AGE"),
    }


def test_afad(lay_out, read, problems):
    there = ("15/111/638660-1.jpg", "39/112/638660-1.jpg", "18/112/1-0.jpg", "18/113/2-0.jpg")
    folder = lay_out(*(f"AFAD-Full/{path}" for path in there))
    (folder / "AFAD-Full" / "AFAD-Full.txt").write_text("./15/111/638660-1.jpg\n./15/111/9-9.jpg\n")
    labelled = read("afad", folder)
    assert columns(labelled, "age", "sex") == [(15, "male"), (18, "female"), (39, "female")]
    assert problems(labelled) == {
        ("AFAD-Full/15/111/638660-1.jpg", "REPEATED"),
        ("AFAD-Full/39/112/638660-1.jpg", "REPEATED"),
        ("AFAD-Full/18/113/2-0.jpg", "NAME"),
        ("./15/111/9-9.jpg", "MISSING"),
    }


def test_agedb(lay_out, read, problems):
    there = (
        "12083_ElsaMartinelli_74_f.jpg",
        "1_TomJones_30_m.jpg",
        "2_TomJones_31_f.jpg",
        "002_Else_9_f.jpg",
        "3_X_m.jpg",
    )
    labelled = read("agedb", lay_out(*there))
    assert columns(labelled, "subject", "age", "sex") == [
        ("Else", 9, "female"),
        ("ElsaMartinelli", 74, "female"),
        ("TomJones", 30, "male"),
    ]
    assert problems(labelled) == {("2_TomJones_31_f.jpg", "DUPLICATE"), ("3_X_m.jpg", "NAME")}


def test_a_name_whose_sex_changes(lay_out, read, problems):
    labelled = read("agedb", lay_out("1_TomJones_30_m.jpg", "2_TomJones_31_f.jpg"))
    assert problems(labelled) == {("1_TomJones_30_m.jpg", "SEX"), ("2_TomJones_31_f.jpg", "SEX")}
    assert len(labelled.table) == 2
    assert {problem.detail for problem in labelled.problems} == {"subject TomJones: male in 1, female in 1"}


def test_faces(lay_out, read, problems):
    labelled = read("faces", lay_out("004_o_m_a_a.jpg", "140_y_f_h_b.jpg", "140_y_f_x_b.jpg"))
    assert columns(labelled, "age", "age_low", "age_high", "sex") == [(None, 69, 80, "male"), (None, 19, 31, "female")]
    assert problems(labelled) == {("140_y_f_x_b.jpg", "NAME")}


def test_names_that_are_not_utf8_and_files_that_cannot_be_read(lay_out, read, problems):
    folder = lay_out("001A02.JPG")
    (folder / os.fsdecode(b"002A\xff.JPG")).write_bytes(b"x")
    (folder / "003A03.JPG").touch()
    (folder / "004A04.JPG").symlink_to(folder / "gone")
    labelled = read("fgnet", folder)
    assert len(labelled.table) == 1
    assert problems(labelled) == {
        ("002A\\xff.JPG", "NOT_UTF8"),
        ("003A03.JPG", "UNREADABLE"),
        ("004A04.JPG", "UNREADABLE"),
    }


@pytest.mark.parametrize("name", READERS)
def test_another_folder_is_refused(lay_out, read, name):
    folder = lay_out("holiday/IMG_0001.JPG")
    with pytest.raises(UsageError, match=r"is not .*: expected .*1 images, and at the top level holiday"):
        read(name, folder)
    with pytest.raises(UsageError, match="does not exist"):
        read(name, folder / "gone")


def test_the_command_line_knows_every_reader():
    assert get_args(DataSetName) == tuple(READERS)
