"""Other files next to labelled photographs, and variants of their files: no row is lost, none are merged."""

import gzip
import io
import json
import tarfile
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_training import RECIPE, face, labelled

from cilf.card import Model
from cilf.cli import main
from cilf.datasets.faces import FaceSet, read_faces
from cilf.datasets.identifiers import identifier
from cilf.errors import UsageError
from cilf.lopo.people import read_people
from cilf.storage import locate
from cilf.training.raw import raw_table
from cilf.training.recipe import Recipe, Source
from cilf.training.rows import read_rows, subject_keys
from cilf.training.sources import open_source
from cilf.training.survey import survey
from cilf.training.tables import parquet_rows
from cilf.training.tars import tar_rows

IMAGE = face(30, 0)
LABELS = json.dumps({"age": 30, "split": "train"}).encode()


def tar_of(path, *members):
    """Write a tar of names and bytes; a name with `->` is a link."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name.partition("->")[0])
            if "->" in name:
                entry.type, entry.linkname = tarfile.SYMTYPE, name.partition("->")[2]
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def read(path, split="train"):
    """The ids of rows with an image, and the errors of the others."""
    rows = list(tar_rows(locate(str(path)), split))
    raw_table(rows, locate(str(path)))
    return [row["id"] for row in rows if row.get("image")], {r["id"]: r["wrong"] for r in rows if "wrong" in r}


@pytest.mark.parametrize(
    ("image", "labels", "key"),
    [
        ("22.05.2019.jpg", "22.05.2019.json", "22.05.2019"),
        ("a.JPG", "a.JSON", "a"),
        ("a.Jpeg", "a.json", "a"),
        ("b/x.y/c.v2.final.webp", "b/x.y/c.v2.final.json", "b/x.y/c.v2.final"),
        ("./a.tiff", "a.json", "a"),
        ("Müller, K..png", "Müller, K..json", "Müller, K."),
        ("a.heic", "a.json", "a"),
        ("a", "a.json", "a"),
        (".hidden.png", ".hidden.json", ".hidden"),
    ],
)
def test_an_image_and_its_labels_differ_in_the_last_suffix_alone(image, labels, key, tmp_path):
    assert read(tar_of(tmp_path / "x.tar", (image, IMAGE), (labels, LABELS))) == ([key], {})
    apart = tar_of(tmp_path / "y.tar", (labels, LABELS), ("z.json", LABELS), ("z.png", IMAGE), (image, IMAGE))
    assert sorted(read(apart)[0]) == sorted([key, "z"])


def test_names_of_dates_do_not_share_labels(tmp_path):
    ages = {"22.05.jpg": 20, "22.06.jpg": 60}
    members = [(name, face(age, 0)) for name, age in ages.items()]
    members += [(name.replace("jpg", "json"), json.dumps({"age": age}).encode()) for name, age in ages.items()]
    rows = list(tar_rows(locate(str(tar_of(tmp_path / "x.tar", *members))), None))
    assert {row["id"]: (row["age"], row["image"]) for row in rows} == {
        "22.05": (20, face(20, 0)),
        "22.06": (60, face(60, 0)),
    }


@pytest.mark.parametrize(
    ("members", "good", "reasons"),
    [
        ([("a.jpg", IMAGE)], [], {"a.jpg": "no labels: the tar has no a.json"}),
        ([("a.json", LABELS)], [], {"a": "no image"}),
        ([("a.jpg", IMAGE), ("a.cls", b"30")], [], {"a.jpg": "the tar has no a.json but a.cls"}),
        ([("a.jpg", IMAGE), ("a.json", LABELS), ("a.txt", b"words")], ["a"], {}),
        ([("a.jpg", IMAGE), ("a.json", b"{")], [], {"a": "not JSON"}),
        ([("a.jpg", IMAGE), ("a.json", b"[30]")], [], {"a": "not an object"}),
        ([("a.jpg", IMAGE), ("a.json", b'{"age": 30}')], [], {"a": "no split"}),
        ([("a.jpg", IMAGE), ("a.json", b'{"age": 30, "split": "val"}')], [], {}),
        ([("a.face.jpg", IMAGE), ("a.json", LABELS)], [], {"a.face.jpg": "no a.face.json", "a": "no image"}),
        ([("README.txt", b"words")], [], {"README.txt": "neither an image nor labels"}),
        ([("a.jpg", IMAGE), ("a.png", IMAGE), ("a.json", LABELS)], ["a"], {"a.png": "to another image called a"}),
        ([("a.jpg", IMAGE), ("a.json", LABELS)] * 2, ["a", "a"], {}),
        ([("a.jpg->b.bin", b""), ("a.json", LABELS), ("b.bin", IMAGE)], ["a"], {"b.bin": "neither"}),
        ([("a.jpg->gone", b""), ("a.json", LABELS)], [], {"a": "a link to gone"}),
        ([("._a.jpg", b"Mac OS X"), ("a.jpg", IMAGE), ("._a.json", b"Mac OS X"), ("a.json", LABELS)], ["a"], {}),
    ],
)
def test_each_member_of_a_tar_is_a_row_or_says_why_not(members, good, reasons, tmp_path):
    found, wrong = read(tar_of(tmp_path / "x.tar", *members))
    assert found == good
    assert set(wrong) == set(reasons)
    for name, reason in reasons.items():
        assert reason in wrong[name]


def test_tars_that_are_cut_packed_or_joined(tmp_path):
    one = tar_of(tmp_path / "1.tar", ("a.jpg", IMAGE), ("a.json", LABELS)).read_bytes()
    two = tar_of(tmp_path / "2.tar", ("b.jpg", IMAGE), ("b.json", LABELS)).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + two)
    assert read(tmp_path / "both.tar") == (["a", "b"], {})
    (tmp_path / "both.tar.gz").write_bytes(gzip.compress(one + two))
    assert read(tmp_path / "both.tar.gz") == (["a", "b"], {})
    end = one.index(LABELS) + 512
    (tmp_path / "cut.tar").write_bytes(one[:end] + b"damage" * 200)
    good, wrong = read(tmp_path / "cut.tar")
    assert good == ["a"]
    assert "damaged or truncated after a.json" in wrong[str(tmp_path / "cut.tar")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        ("7", "7"),
        (7, "7"),
        (7.0, "7"),
        (Decimal("7.00"), "7"),
        (7.5, "7.5"),
        (float("nan"), None),
        (float("inf"), "inf"),
        (None, None),
        ("", None),
        ("7.0", "7.0"),
        (b"007", "007"),
        (2**62 + 1, str(2**62 + 1)),
    ],
)
def test_identifiers_are_text(value, text):
    assert identifier(value) == text


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.gz"])
def test_ids_and_subjects_differ_if_written_differently(kind, tmp_path):
    (tmp_path / "a.png").write_bytes(IMAGE)
    names = ["0001", "1", "1e3", "1000"]
    rows = [{"id": name, "subject": f"0{name}", "age": "30", "path": "a.png", "split": "train"} for name in names]
    file = tmp_path / f"labels.{kind}"
    if kind.startswith("csv"):
        text = "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]).encode()
        file.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    table = raw_table(open_source(str(file), "train").labels(), locate(str(file)))
    assert table["id"].to_pylist() == names
    assert table["subject"].to_pylist() == [f"0{name}" for name in names]
    assert table["uri"].to_pylist() == [f"{tmp_path}/a.png"] * 4


def test_numbers_that_pandas_has_made_floats_are_the_whole_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("id,subject,age,uri\n1,7.0,30,x\n2,,30,x\n3,8.0,30,x\n")
    assert [row["subject"] for row in open_source(str(tmp_path), None).labels()] == ["7", None, "8"]
    (tmp_path / "a.csv").write_text("id,subject,age,uri\n1,7.0,30,x\n2,7,30,x\n3,,30,x\n")
    assert [row["subject"] for row in open_source(str(tmp_path), None).labels()] == ["7.0", "7", None]


def test_a_subject_is_no_row_of_that_name():
    index = pa.table({"id": ["7", "8", "7"], "subject": pa.array([None, "7", None], pa.string())})
    first, second, third = subject_keys(index).to_pylist()
    assert first != second
    assert first == third


def test_a_list_is_relative_to_its_file_wherever_the_folder_is_named(tmp_path):
    below = tmp_path / "data" / "lists"
    below.mkdir(parents=True)
    (below / "labels.csv").write_text("path,age\n../faces/a.png,30\nb.png,40\n")
    wanted = [f"{tmp_path}/data/faces/a.png", f"{below}/b.png"]
    for place in (below / "labels.csv", below, tmp_path / "data", tmp_path):
        source = open_source(str(place), None)
        assert raw_table(source.labels(), source.files[0])["uri"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('path,age\n"a.png,30\nb.png,40\n', "line 3"),
        ('path,age,note\na.png,30,"x\nb.png,40,y" z\n', "line 3"),
        ("path,age\na.png,30,1\n", "3 columns, but the first line has 2"),
    ],
)
def test_invalid_csv_is_refused_with_its_line(text, complaint, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        list(open_source(str(tmp_path), None).labels())


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("C:\\photos\\a.jpg", "a Windows path"),
        ("\\\\host\\a.jpg", "a Windows path"),
        ("https://x.y/a.jpg", "cannot open https://"),
        ("hdfs://a/b.jpg", "cannot open hdfs://"),
        ("tar+https://x.y/a.tar#512:3/b.jpg", "cannot open https://"),
        ("s3:/a/b.jpg", "cannot be opened"),
        ("dbfs:/mnt/a.jpg", "cannot be opened"),
        ("file://host/a.jpg", "names another machine"),
        ("s3://bucket", "names no object"),
    ],
)
def test_a_uri_that_cannot_be_read_says_why(uri, reason, tmp_path):
    (tmp_path / "labels.csv").write_text(f"uri,age\n{uri},30\na.png,40\n")
    source = open_source(str(tmp_path), None)
    bad, good = raw_table(source.labels(), source.files[0])["wrong"].to_pylist()
    assert good is None
    assert uri in bad
    assert reason in bad
    assert "bucket of" not in bad
    assert "manifest" not in bad


def test_an_invalid_json_line_makes_only_its_own_row_bad(tmp_path):
    (tmp_path / "labels.jsonl").write_text(
        '{"path": "a.png", "age": 30}\n{"path": \n\n{"path": "b.png", "age": "40"}\n'
    )
    rows = list(open_source(str(tmp_path), None).labels())
    assert [row.get("age") for row in rows] == [30, None, "40"]
    assert rows[1]["id"].endswith("labels.jsonl, line 2")


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_review_file_is_not_learned_from(kind, tmp_path):
    row = {"id": "1", "uri": "a.png", "age": 30.0, "split": "train", "true_age": None}
    file = tmp_path / f"review.{kind}"
    if kind == "jsonl":
        file.write_text(json.dumps(row))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), file)
    else:
        text = b"id,uri,age,split,true_age\n1,a.png,30,train,\n"
        file.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    with pytest.raises(UsageError, match=f"review.{kind} is a review file: `cilf report OUTPUT --corrections"):
        list(open_source(str(file), "train").labels())


IMAGES = {
    "struct": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "struct of views": pa.struct([("path", pa.string_view()), ("bytes", pa.binary_view())]),
    "large": pa.large_binary(),
    "view": pa.binary_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.binary()),
    "fixed size": pa.binary(10_000),
}


def faces_file(path, kind, text=None):
    """Ten faces of ten people, with given Arrow types for images and texts."""
    images = [face(10 * n, n) for n in range(10)]
    if pa.types.is_fixed_size_binary(kind):
        images = [image.ljust(kind.byte_width, b"\0") for image in images]
    values = [{"bytes": image, "path": None} for image in images] if pa.types.is_struct(kind) else images
    texts = {"id": [f"0{n}" for n in range(10)], "subject": [f"00{n}" for n in range(10)], "split": ["val"] * 10}
    columns = {name: pa.array(column, text or pa.string()) for name, column in texts.items()}
    column = pa.array(values).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(values, kind)
    pq.write_table(pa.table({**columns, "age": [10.0 * n for n in range(10)], "image": column}), path)
    return images


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_every_type_are_learned_from_and_measured(kind, text, tmp_path):
    images = faces_file(tmp_path / "faces.parquet", IMAGES[kind], text)
    [file] = open_source(str(tmp_path), "val").files
    table = raw_table(parquet_rows(file, 0, "val"), file)
    assert table["image"].to_pylist() == images
    faces = read_faces(str(tmp_path), "val", 32)
    assert (faces.ids, faces.groups["subject"].tolist()) == (
        [f"0{n}" for n in range(10)],
        [f"00{n}" for n in range(10)],
    )
    assert read_people(str(tmp_path)).images == images


@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.binary()), pa.struct([("path", pa.string())])])
def test_other_images_are_refused_alike(kind, tmp_path):
    table = pa.table({"id": ["a"], "age": [30], "split": ["val"], "subject": ["x"], "image": pa.nulls(1, kind)})
    pq.write_table(table, tmp_path / "faces.parquet")
    for attempt in (
        lambda: open_source(str(tmp_path), "val"),
        lambda: FaceSet(str(tmp_path), "val"),
        lambda: read_people(str(tmp_path)),
    ):
        with pytest.raises(UsageError, match=r"has a column image of .*expected binary"):
            attempt()


def test_hidden_files_and_files_of_jobs_are_ignored(tmp_path):
    faces_file(tmp_path / "faces.PARQUET", pa.binary())
    for name in ("._faces.parquet", ".hidden.parquet", "_SUCCESS", "_temporary/0/part.parquet", ".tmp/part.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no Parquet")
    assert len(list(open_source(str(tmp_path), "val").labels())) == 10
    assert FaceSet(str(tmp_path), "val").rows == 10
    assert len(read_people(str(tmp_path))) == 10


@pytest.mark.parametrize(
    ("sign", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        ("_delta_log/00000000000000000010.checkpoint.parquet", "Delta"),
        ("below/_delta_log/00000000000000000000.json", "Delta"),
        ("metadata/v1.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_a_table_with_a_log_is_refused_as_its_files_hold_old_rows(sign, kind, tmp_path):
    faces_file(tmp_path / "faces.parquet", pa.binary())
    (tmp_path / sign).parent.mkdir(parents=True)
    (tmp_path / sign).write_text("{}")
    for read_it in (lambda: open_source(str(tmp_path), "val"), lambda: FaceSet(str(tmp_path), "val")):
        with pytest.raises(UsageError, match=f"is a table of {kind}"):
            read_it()


def test_links_to_folders_are_followed_once(tmp_path):
    faces_file(tmp_path / "faces.parquet", pa.binary())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path)
    assert len(open_source(str(tmp_path / "data"), "val").files) == 1


def test_a_store_is_read_as_a_folder_is(bucket, tmp_path):
    faces_file(tmp_path / "faces.parquet", IMAGES["struct"])
    packed = tar_of(tmp_path / "x.tar", ("a.b.JPG", IMAGE), ("a.b.JSON", LABELS), ("c.jpg", IMAGE)).read_bytes()
    listed = b"path,age,subject\n../a.png,30,007\nb.png,31,7\n../../../c.png,32,7\n"
    parquet = (tmp_path / "faces.parquet").read_bytes()
    url = bucket(
        {
            "tars/deep/x.tar": packed,
            "lists/labels.csv.gz": gzip.compress(listed),
            "faces/1/a.parquet": parquet,
            "faces/._a.parquet": b"junk",
            "faces/_temporary/b.parquet": b"junk",
            "delta/a.parquet": parquet,
            "delta/_delta_log/0.json": b"{}",
        }
    )
    [tar] = open_source(f"{url}/tars", "train").files
    assert [row["id"] for row in tar_rows(tar, "train")] == ["a.b", "c.jpg"]
    source = open_source(f"{url}/lists/", None)
    table = raw_table(source.labels(), source.files[0])
    assert table["uri"].to_pylist()[:2] == [f"{url}/a.png", f"{url}/lists/b.png"]
    assert table["subject"].to_pylist() == ["007", "7", "7"]
    assert "leads out of the bucket" in table["wrong"][2].as_py()
    assert len(list(open_source(f"{url}/faces", "val").labels())) == FaceSet(f"{url}/faces", "val").rows == 10
    assert len(open_source(f"{url}/faces/1/*.parquet", "val").files) == 1
    for refused in (f"{url}/delta", f"{url}/delta/*.parquet"):
        with pytest.raises(UsageError, match="a table of Delta"):
            open_source(refused, "val")


def test_a_folder_of_two_kinds_says_which_is_read(tmp_path, caplog):
    pq.write_table(pa.Table.from_pylist(labelled(500)), tmp_path / "faces.parquet")
    tar_of(tmp_path / "more.tar", ("a.jpg", IMAGE), ("a.json", LABELS))
    survey(Recipe.model_validate({**RECIPE, "data": {"path": str(tmp_path)}}))
    assert caplog.text.count("reading 1 Parquet files, and ignoring 1 tar files") == 1


def test_a_damaged_row_group_makes_only_its_own_rows_bad(tmp_path):
    rows = labelled(30)
    file = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=10, compression="none")
    data = bytearray(file.read_bytes())
    start = pq.read_metadata(file).row_group(1).column(2).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(data)
    found = [list(parquet_rows(locate(str(file)), group, None)) for group in range(3)]
    assert [sum("wrong" in row for row in group) for group in found] == [0, 10, 0]
    assert [len(group) for group in found] == [10, 10, 10]


def test_evaluation_refuses_a_delta_folder_in_a_sentence(tmp_path, capsys):
    faces_file(tmp_path / "faces.parquet", pa.binary())
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "0.json").write_text("{}")
    assert main(["evaluate", "cilf-ciae-mobile", str(tmp_path)]) == 2
    assert "delta_scan" in capsys.readouterr().err


def test_rows_in_structs_and_those_without_labels_go_through_ray(ray_session, tmp_path):
    faces_file(tmp_path / "faces.parquet", IMAGES["struct"], pa.string_view())
    found = read_rows(Source(path=str(tmp_path / "faces.parquet")), "val", Model())
    assert found.index["subject"].to_pylist() == [f"00{n}" for n in range(10)]
    tar_of(tmp_path / "x.tar", ("a.b.JPG", IMAGE), ("a.b.JSON", LABELS), ("c.jpg", IMAGE), ("d.jpg", b"junk"))
    found = read_rows(Source(path=str(tmp_path / "x.tar")), "train", Model())
    assert found.index["id"].to_pylist() == ["a.b"]
    assert [row["id"] for row in found.bad] == ["c.jpg", "d.jpg"]
