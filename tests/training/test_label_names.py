"""Labels whose names differ by case or occur twice are refused, never dropped and never mistaken for each other."""

import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_training import face

from cilf.datasets.faces import FaceSet
from cilf.errors import UsageError
from cilf.lopo.people import read_people
from cilf.storage import locate
from cilf.training.lists import json_labels
from cilf.training.sources import open_source
from cilf.training.tars import tar_rows

IMAGE = face(30, 0)
COLUMNS = {"id": ["a"], "image": [IMAGE], "age": [30], "split": ["val"]}
NAMES = ["Box", "Subject", "Age", "SPLIT", "Age_Low", "ID", "Top", "Image", " subject", "\ufeffid"]


def written(path, names):
    """One row, whose columns are COLUMNS and others with these names."""
    arrays = [*map(pa.array, COLUMNS.values()), *(pa.array(["7"]) for _ in names)]
    pq.write_table(pa.table(arrays, names=[*COLUMNS, *names]), path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_other_case_is_refused_in_parquet(name, tmp_path):
    written(tmp_path / "faces.parquet", [name])
    for attempt in (lambda: open_source(str(tmp_path), "val"), lambda: FaceSet(str(tmp_path), "val")):
        with pytest.raises(UsageError, match="by case or blanks only: rename it"):
            attempt()


@pytest.mark.parametrize("names", [["age"], ["subject", "subject"], ["image"], ["box", "box"]])
def test_a_name_that_stands_twice_is_refused_in_parquet(names, tmp_path):
    written(tmp_path / "faces.parquet", names)
    for attempt in (lambda: open_source(str(tmp_path), "val"), lambda: FaceSet(str(tmp_path), "val")):
        with pytest.raises(UsageError, match=f"a column `{names[0]}` twice"):
            attempt()


@pytest.mark.parametrize("name", ["Gender", "RACE", "Sex"])
def test_groups_of_other_case_are_refused_where_they_are_measured(name, tmp_path):
    written(tmp_path / "faces.parquet", [name])
    with pytest.raises(UsageError, match=f"differs from `{name.lower()}`"):
        FaceSet(str(tmp_path), "val")
    assert len(list(open_source(str(tmp_path), "val").labels())) == 1


def test_reading_people_refuses_a_name_in_another_case(tmp_path):
    written(tmp_path / "faces.parquet", ["subject", "Age"])
    with pytest.raises(UsageError, match="'Age', which differs from `age`"):
        read_people(str(tmp_path))


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("uri,age,Subject", "'Subject', which differs from `subject`"),
        ("URI,path,age", "'URI', which differs from `uri`"),
        ("uri,age,age", "`age` twice"),
        ("uri,age, age ", "`age` twice"),
        ("uri,age,left,left", "`left` twice"),
    ],
)
def test_csv_is_refused_by_its_first_line(header, fault, tmp_path):
    (tmp_path / "labels.csv").write_text(f"{header}\n")
    with pytest.raises(UsageError, match=fault):
        open_source(str(tmp_path), None)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ('{"age": 20, "age": 30}', "`age` twice"),
        ('{"age": 20, "Age": 30}', "'Age', which differs from `age`"),
        ('{"age": 20, "Box": [1, 2, 3, 4]}', "'Box', which differs from `box`"),
        ('{"age": 20, "subject": "a", "subject": "a"}', "`subject` twice"),
    ],
)
def test_a_bad_json_object_makes_only_its_own_row_bad(labels, fault, tmp_path):
    (tmp_path / "labels.jsonl").write_text(f'{labels}\n{{"uri": "a.png", "age": 40}}\n')
    bad, good = open_source(str(tmp_path), None).labels()
    assert fault in bad["wrong"]
    assert good == {"uri": "a.png", "age": 40}
    members = {"a.json": labels.encode(), "a.png": IMAGE, "b.json": b'{"age": 40}', "b.png": IMAGE}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in members.items():
            (tmp_path / name).write_bytes(data)
            tar.add(tmp_path / name, name)
    bad, good = tar_rows(locate(str(tmp_path / "x.tar")), None)
    assert fault in bad["wrong"]
    assert (bad["id"], good["id"], good["age"]) == ("a", "b", 40)


def test_unused_columns_may_have_any_name(tmp_path):
    names = ["note", "note", "Note", "Labels"]
    written(tmp_path / "faces.parquet", names)
    assert len(list(open_source(str(tmp_path), "val").labels())) == FaceSet(str(tmp_path), "val").rows == 1
    (tmp_path / "labels.csv").write_text("uri,age,,,note,Note\na.png,30,,,,\n")
    assert [row["age"] for row in open_source(str(tmp_path / "labels.csv"), None).labels()] == ["30"]
    nested = {"age": 30, "Camera": {"age": 1, "Age": 2}}
    assert json_labels(json.dumps(nested), "x") == {"age": 30}
