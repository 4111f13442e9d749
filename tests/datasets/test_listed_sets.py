"""Data sets whose labels are in lists: CLAP, IMDB-CLEAN, FairFace, SCface."""

from __future__ import annotations

import pytest

from cilf.errors import UsageError


def test_clap2016(lay_out, read, problems):
    labelled = read(
        "clap2016",
        lay_out(
            "train/000001.jpg",
            "valid/000001.jpg",
            "valid/000009.jpg",
            "test/000002.jpg",
            train_gt__csv="image,mean,stdv\n000001.jpg,35.2,4.6\n000009.jpg,30,2\n",
            valid_gt__csv="image,mean,stdv\n000001.jpg,20,3.7\n000001.jpg,20,3.7\n",
            test_gt__csv="image,mean,stdv\n000002.jpg,?,4\n",
        ),
    )
    rows = labelled.table.select(["path", "age", "age_std", "split"]).to_pylist()
    assert [(row["path"], row["split"], row["age"]) for row in rows] == [
        ("train/000001.jpg", "train", pytest.approx(35.2)),
        ("valid/000001.jpg", "val", 20),
    ]
    assert rows[0]["age_std"] == pytest.approx(4.6)
    found = {("000009.jpg", "MISSING"), ("test/000002.jpg", "LABEL"), ("valid/000001.jpg", "DUPLICATE")}
    assert problems(labelled) == found


def test_appa_real_has_both_ages(lay_out, read):
    text = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n000000.jpg,36,5.05,1.13,4\n"
    folder = lay_out("train/000000.jpg", "train/000000.jpg_face.jpg", gt_avg_train__csv=text)
    real, apparent = (read(name, folder).table.to_pylist()[0] for name in ("appa-real", "clap2016"))
    assert real["path"] == apparent["path"] == "train/000000.jpg_face.jpg"
    assert (real["age"], real["age_std"], real["split"]) == (4, None, "train")
    assert (apparent["age"], apparent["age_std"]) == (pytest.approx(5.05), pytest.approx(1.13))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Train__csv", "image_1.jpg;21;4.5\n"),
        ("Train__csv", "image_1.jpg,21,4.5\n"),
        ("Train__txt", "image_1.jpg 21 4.5\n"),
        ("total_2015__csv", "filename,age,stdv,database\nimage_1.jpg,21,4.5,train\n"),
    ],
)
def test_clap2015_lists(lay_out, read, name, text):
    labelled = read("clap2015", lay_out("Train/image_1.jpg", **{name: text}))
    row = labelled.table.to_pylist()[0]
    assert (row["age"], row["age_std"], row["split"]) == (21, 4.5, "train")
    assert not labelled.problems


def test_imdb_clean(lay_out, read, problems):
    header = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch\n"
    names = [f"38/nm2679438_rm{k}_1989-8-15_2009.jpg" for k in range(4)]
    turned = ",0,0,0\n"
    train = f"{names[0]},20,M,31,39,61,77{turned}{names[1]},30,M,31,39,61,77{turned}{names[2]},20,M,a,39,61,77{turned}"
    labelled = read(
        "imdb-clean",
        lay_out(
            *names[:3],
            "38/x.jpg",
            imdb_train_new_1024__csv=f"{header}{train}38/x.jpg,20,M,31,39,61,77{turned}",
            imdb_valid_new_1024__csv=f"{header}{names[3]},20,M,31,39,61,77{turned}",
            imdb_test_new_1024__csv=f"{header}{names[0]},19,M,61,39,31,77{turned}",
        ),
    )
    assert problems(labelled) == {
        (names[0], "BOX"),
        (names[1], "DATES"),
        (names[2], "LABEL"),
        (names[3], "MISSING"),
        ("38/x.jpg", "NAME"),
    }
    rows = labelled.table.to_pylist()
    assert [(row["split"], row["age"]) for row in rows if row["path"] == names[0]] == [("test", 19), ("train", 20)]
    assert rows[-1]["box"] == [31, 39, 61, 77]
    assert {row["subject"] for row in rows} == {"nm2679438"}


def test_fairface(lay_out, read, problems):
    header = "file,age,gender,race,service_test\n"
    train = "train/1.jpg,50-59,Male,East Asian,True\ntrain/2.jpg,old,Male,White,True\n"
    val = "val/1.jpg,more than 70,Female,Indian,False\nval/2.jpg,3-9,Male,Black,True\n"
    labelled = read(
        "fairface",
        lay_out(
            "train/1.jpg",
            "train/2.jpg",
            "val/1.jpg",
            "val/7.jpg",
            fairface_label_train__csv=header + train,
            fairface_label_val__csv=header + val,
        ),
    )
    rows = labelled.table.select(["age", "age_low", "age_high", "sex", "race", "split"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (None, 50, 59, "male", "East Asian", "train"),
        (None, 70, None, "female", "Indian", "val"),
    ]
    found = {("train/2.jpg", "LABEL"), ("val/2.jpg", "MISSING"), ("val/7.jpg", "UNLISTED")}
    assert problems(labelled) == found


def test_scface_needs_ages(lay_out, read, problems):
    pictures = ("mug/001_frontal.jpg", "cam/001_cam1_1.jpg", "cam/002_cam8.jpg", "cam/other.jpg")
    with pytest.raises(UsageError, match=r"subjects\.csv"):
        read("scface", lay_out(*pictures))
    labelled = read("scface", lay_out(*pictures, subjects__csv="subject,age,sex\n1,34,M\n"))
    assert [row["age"] for row in labelled.table.to_pylist()] == [34, 34]
    assert problems(labelled) == {("cam/002_cam8.jpg", "NO_AGE"), ("cam/other.jpg", "NAME")}


def test_a_list_without_its_columns(lay_out, read):
    with pytest.raises(UsageError, match=r"has no column age, gender, race \(its columns: file, years\)"):
        read("fairface", lay_out("train/1.jpg", fairface_label_train__csv="file,years\ntrain/1.jpg,3\n"))


def test_an_unclosed_quote_loses_only_its_own_line(lay_out, read, problems):
    text = 'image,mean,stdv\n"1.jpg,30,1\n2.jpg,31,1\n'
    labelled = read("clap2016", lay_out("train/1.jpg", "train/2.jpg", train_gt__csv=text))
    assert labelled.table["age"].to_pylist() == [31]
    assert {reason for _, reason in problems(labelled)} == {"MISSING"}
