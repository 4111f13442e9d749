"""MORPH-II with every known fault of its table."""

from __future__ import annotations

HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo\n"


def test_problems_are_reported(lay_out, read, problems):
    table = HEADER + "".join(
        f"{line}\n"
        for line in (
            "009055,1,05/02/1950,06/01/2004,W,M,,54,0,,Album2/009055_1M54.JPG",
            "009055,2,05/02/1950,06/01/2005,W,M,,55,365,,Album2/009055_2M55.JPG",
            "10001,0,01/15/1980,02/01/2005,B,F,,25,0,,Album2/010001_0F25.JPG",
            "10001,1,01/15/1983,02/01/2006,W,F,,26,365,,Album2/010001_1F26.JPG",  # birth and race change
            "10002,0,01/01/1970,02/01/2005,B,M,,35,0,,Album2/010002_0M35.JPG",
            "10002,1,01/01/1970,02/01/2006,B,F,,36,0,,Album2/010002_1F36.JPG",  # sex changes
            "10003,0,01/01/1970,02/01/2005,B,M,,35,0,,Album2/010003_0F35.JPG",  # sex against the name
            "10004,0,01/01/1970,02/01/2005,B,M,,35,0,,Album2/010004_0M20.JPG",  # age against name and dates
            "10005,0,01/01/1970,02/01/2005,B,M,,35,0,,Album2/010005_0M35.JPG",  # no such file
            "10006,0,01/01/1800,02/01/2005,B,M,,205,0,,Album2/010006_0M205.JPG",  # nobody's age
            "10007,0,01/01/1970,02/01/2005,B,M,,35,0,,Album2/10007.JPG",  # a wrong name
            "009055,1,05/02/1950,06/01/2004,W,M,,54,0,,Album2/009055_1M54.JPG",  # twice
            "10008,0,unknown,02/01/2005,H,M,,40,0,,Album2/010008_0M40.JPG",  # no date
            "10009,0,01/14/53,02/01/03,H,M,,50,0,,Album2/010009_0M50.jpg",  # another century, another case
        )
    )
    names = [line.rpartition("/")[2] for line in table.splitlines()[1:]]
    there = {f"Album2/{name}" for name in names if name != "010005_0M35.JPG"}
    folder = lay_out(*there, "Album2/020000_0M30.JPG", morph_2008_nonCommercial__csv=table)
    (folder / "Album2/010010_0M33.JPG").touch()
    labelled = read("morph2", folder)
    found = {(path.removeprefix("Album2/"), reason) for path, reason in problems(labelled)}
    assert found == {
        ("010001_0F25.JPG", "BIRTH"),
        ("010001_1F26.JPG", "BIRTH"),
        ("010001_1F26.JPG", "DATES"),
        ("010001_0F25.JPG", "RACE"),
        ("010001_1F26.JPG", "RACE"),
        ("010002_0M35.JPG", "SEX"),
        ("010002_1F36.JPG", "SEX"),
        ("010003_0F35.JPG", "OWN_NAME"),
        ("010004_0M20.JPG", "OWN_NAME"),
        ("010004_0M20.JPG", "DATES"),
        ("010005_0M35.JPG", "MISSING"),
        ("010006_0M205.JPG", "AGE"),
        ("10007.JPG", "NAME"),
        ("009055_1M54.JPG", "DUPLICATE"),
        ("010008_0M40.JPG", "DATES"),
        ("010010_0M33.JPG", "UNREADABLE"),
        ("020000_0M30.JPG", "UNLISTED"),
    }
    rows = {row["path"].removeprefix("Album2/"): row for row in labelled.table.to_pylist()}
    assert len(rows) == 10
    assert rows["009055_2M55.JPG"] | {"path": ""} == {
        "path": "", "age": 55.0, "age_std": None, "age_low": None, "age_high": None, "sex": "male", "race": "W",
        "subject": "9055", "split": None, "dataset": "morph2", "box": None,
    }  # fmt: skip
    assert rows["010003_0F35.JPG"]["sex"] == "female"
    assert rows["010004_0M20.JPG"]["age"] == 20
    assert "010009_0M50.jpg" in rows


def test_names_alone(lay_out, read, problems):
    labelled = read("morph2", lay_out("a/070081_2F36.JPG", "b/070081_2F36.JPG", "a/332200_02M32.JPG", "a/x.jpg"))
    assert labelled.table["age"].to_pylist() == [36, 32]
    assert labelled.table["subject"].to_pylist() == ["70081", "332200"]
    assert problems(labelled) == {("b/070081_2F36.JPG", "DUPLICATE"), ("a/x.jpg", "NAME")}
