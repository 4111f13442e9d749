"""A list with any content is read or rejected, and never causes a crash."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf.datasets.labels import TABLE, reader
from cilf.errors import UsageError

SETS = {
    "adience": (
        "u@N/landmark_aligned_face.1.a.jpg",
        "fold_0_data.txt",
        "user_id\toriginal_image\tface_id\tage\tgender\n",
        ("u@N", "a.jpg", "1", "(25, 32)", "m"),
    ),
    "afad": ("25/112/1-0.jpg", "AFAD-Full.txt", "", ("./25/112/1-0.jpg",)),
    "clap2015": ("image_1.jpg", "train.csv", "", ("image_1.jpg", "30", "2")),
    "clap2016": ("train/1.jpg", "train_gt.csv", "image,mean,stdv\n", ("1.jpg", "30", "2")),
    "appa-real": ("train/1.jpg", "gt_avg_train.csv", "file_name,real_age\n", ("1.jpg", "30")),
    "fairface": (
        "train/1.jpg",
        "fairface_label_train.csv",
        "file,age,gender,race\n",
        ("train/1.jpg", "3-9", "Male", "W"),
    ),
    "imdb-clean": (
        "01/nm1_rm2_1950-1-2_1999.jpg",
        "imdb_train_new.csv",
        "filename,age,gender,x_min,y_min,x_max,y_max\n",
        ("01/nm1_rm2_1950-1-2_1999.jpg", "49", "M", "0", "0", "9", "9"),
    ),
    "morph2": (
        "1_2F36.JPG",
        "morph_2008_nonCommercial.csv",
        "id_num,dob,doa,race,gender,age,photo\n",
        ("1", "02/29/2000", "1/1/36", "W", "F", "36", "1_2F36.JPG"),
    ),
    "scface": ("001_frontal.jpg", "subjects.csv", "subject,age,sex\n", ("1", "30", "M")),
}
"""Data set -> an image, the name of a list, its first line, and the cells of a line about that image."""


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lists_of_anything(lay_out, name, data):
    picture, file, header, cells = SETS[name]
    cell = (
        st.sampled_from(cells) | st.text(max_size=8) | st.sampled_from(["-1", "1e400", "nan", "02/29/00", "(1, )", '"'])
    )
    lines = data.draw(st.lists(st.tuples(*[cell] * len(cells)) | st.just(cells), max_size=4))
    divider = "\t" if name == "adience" else ","
    text = (header + "\n".join(divider.join(line) for line in lines)).encode() + data.draw(st.binary(max_size=6))
    folder = lay_out(picture)
    (folder / file).write_bytes(text)
    with suppress(UsageError):
        labelled = reader(name)(folder)
        assert labelled.table.schema == TABLE
        assert labelled.table.validate(full=True) is None
        assert len(labelled.table) <= len(lines) + 1
        assert pa.array([problem.path for problem in labelled.problems], pa.string()).null_count == 0


@pytest.mark.parametrize("name", SETS)
def test_the_unchanged_line_is_read(lay_out, name):
    picture, file, header, cells = SETS[name]
    folder = lay_out(picture)
    (folder / file).write_text(header + ("\t" if name == "adience" else ",").join(cells) + "\n")
    assert len(reader(name)(folder).table) == 1
