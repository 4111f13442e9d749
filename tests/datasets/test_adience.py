"""Adience: five lists, and groups instead of ages."""

from __future__ import annotations

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
USER = "30601258@N03"


def line(image: str, face: int, age: str, gender: str) -> str:
    return f"{USER}\t{image}_o.jpg\t{face}\t{age}\t{gender}\t0\t414\t1086\t1383\t-115\t30\t17\n"


def picture(image: str, face: int, kind: str = "landmark_aligned_face", folder: str = "aligned") -> str:
    return f"{folder}/{USER}/{kind}.{face}.{image}_o.jpg"


LINES = [
    ("a", 1, "(25, 32)", "m"),
    ("b", 1, "(25, 32)", "f"),  # another sex
    ("c", 2, "(0, 2)", "u"),
    ("d", 3, "35", ""),  # no group
    ("e", 4, "(38, 48)", "f"),  # other bounds
    ("f", 5, "None", "f"),  # no age
    ("g", 6, "old", "f"),  # unreadable
    ("h", 7, "(60, 100)", "f"),  # missing
    ("c", 2, "(0, 2)", "u"),  # twice
]


def test_problems_are_reported(lay_out, read, problems):
    there = [picture(image, face) for image, face, *_ in LINES if image != "h"]
    loose = [f"aligned/{USER}/portrait.jpg", picture("z", 9)]
    coarse = picture("a", 1, "coarse_tilt_aligned_face", "faces")
    lists = {f"fold_{k}_data__txt": HEADER for k in range(1, 5)}
    folder = lay_out(*there, *loose, coarse, fold_0_data__txt=HEADER + "".join(line(*one) for one in LINES), **lists)
    labelled = read("adience", folder)
    assert problems(labelled) == {
        (picture("a", 1), "SEX"),
        (picture("b", 1), "SEX"),
        (picture("d", 3), "ODD_GROUP"),
        (picture("e", 4), "ODD_GROUP"),
        (picture("f", 5), "NO_AGE"),
        (picture("g", 6), "LABEL"),
        (picture("h", 7).removeprefix("aligned/"), "MISSING"),
        (picture("c", 2), "DUPLICATE"),
        (loose[0], "NAME"),
        (loose[1], "UNLISTED"),
    }
    table = labelled.table
    groups = list(zip(table["age_low"].to_pylist(), table["age_high"].to_pylist(), strict=True))
    assert groups == [(25, 32), (25, 32), (0, 2), (25, 32), (38, 43)]
    assert table["sex"].to_pylist() == ["male", "female", None, None, "female"]
    assert table["age"].null_count == 5
    assert set(table["split"].to_pylist()) == {"fold_0"}


def test_coarse_crops_alone(lay_out, read):
    crop = picture("a", 1, "coarse_tilt_aligned_face", "faces")
    folder = lay_out(crop, fold_3_data__txt=HEADER + line("a", 1, "(8, 12)", "m"))
    assert read("adience", folder).table.select(["path", "split"]).to_pylist() == [{"path": crop, "split": "fold_3"}]
