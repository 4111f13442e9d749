"""`cilf data split`: its files, which training and evaluation read, and its messages."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_tables import made

from cilf import cli
from cilf.datasets.faces import read_faces
from cilf.training.examine import examine


@pytest.fixture
def table(tmp_path, photograph):
    """Twelve photographs of four people, and their table."""
    people = [f"{row // 3:03}" for row in range(12)]
    paths = [f"{subject}A{row + 1:02}.JPG" for row, subject in enumerate(people)]
    for row, path in enumerate(paths):
        (tmp_path / path).write_bytes(photograph(row))
    rows = made("fgnet", 12, path=paths, age=[float(row + 1) for row in range(12)], subject=people)
    rows = rows.append_column("uri", pa.array([f"{tmp_path}/{path}" for path in paths]))
    pq.write_table(rows, tmp_path / "fgnet.parquet")
    return tmp_path / "fgnet.parquet"


def test_a_file_for_each_fold(table, tmp_path, capsys):
    output = tmp_path / "folds"
    assert cli.main(["data", "split", "fgnet-lopo", str(table), str(output)]) == 0
    assert sorted(file.name for file in output.iterdir()) == [
        *(f"{person:03}.parquet" for person in range(4)),
        "split.json",
    ]
    fold = pq.read_table(output / "002.parquet")
    assert fold["subject"].to_pylist() == pq.read_table(table)["subject"].to_pylist()
    assert fold["split"].to_pylist() == ["train"] * 6 + ["test"] * 3 + ["train"] * 3
    assert fold["id"].to_pylist() == fold["path"].to_pylist()
    assert examine(fold)["reason"].null_count == 12
    said = capsys.readouterr().out
    assert "fgnet-lopo: 4 folds" in said
    assert "Leakage: 0 of 12 tested rows (0.0%)" in " ".join(said.split())
    assert "12 photographs, where the literature has 1,002" in " ".join(said.split())
    record = json.loads((output / "split.json").read_text())
    assert [one["fold"] for one in record["folds"]] == ["000", "001", "002", "003"]


def test_a_random_split_reports_its_leakage(table, tmp_path, capsys):
    assert cli.main(["data", "split", "random-80-20", str(table), f"{tmp_path}/folds", "--seed", "3"]) == 0
    record = json.loads((tmp_path / "folds" / "split.json").read_text())
    assert [(one["train"], one["test"]) for one in record["folds"]] == [(10, 2)] * 5
    shared = sum(one["shared"] for one in record["folds"])
    assert shared > 0
    assert f"{shared} of 10 tested rows" in " ".join(capsys.readouterr().out.split())


def test_evaluation_reads_a_fold_with_images(table, tmp_path):
    assert cli.main(["data", "split", "subjects-80-20", str(table), f"{tmp_path}/folds", "--images"]) == 0
    faces = read_faces(f"{tmp_path}/folds/draw-0.parquet", "test", 16)
    assert len(faces) == 3
    assert len(set(faces.groups["subject"])) == 1


def test_a_missing_image(table, tmp_path, capsys):
    (tmp_path / "001A04.JPG").unlink()
    arguments = ["data", "split", "fgnet-lopo", str(table), f"{tmp_path}/folds"]
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--images"]) == cli.WRONG_USAGE
    assert "001A04.JPG: there is no such object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fgnet-lopo", "{folder}/gone.parquet"], "does not exist"),
        (["fgnet-lopo", "{folder}/other.parquet"], "expected a table that `cilf data check --output` has written"),
        (["cacd", "{folder}/fgnet.parquet"], "cacd is a protocol of cacd"),
        (["morph2-iv", "{folder}/fgnet.parquet", "--lists", "{folder}/gone"], "does not exist"),
        (["nonsense", "{folder}/fgnet.parquet"], "Choose from"),
    ],
)
def test_wrong_usage(table, tmp_path, capsys, arguments, message):
    pq.write_table(pa.table({"age": [1]}), tmp_path / "other.parquet")
    place, *rest = (argument.format(folder=tmp_path) for argument in arguments[1:])
    assert cli.main(["data", "split", arguments[0], place, f"{tmp_path}/folds", *rest]) == cli.WRONG_USAGE
    assert message in capsys.readouterr().err


def test_a_fold_never_overwrites_its_table(table, tmp_path, capsys):
    named = table.rename(tmp_path / "002.parquet")
    before = named.read_bytes()
    assert cli.main(["data", "split", "fgnet-lopo", str(named), str(tmp_path)]) == cli.WRONG_USAGE
    assert "would overwrite TABLE" in capsys.readouterr().err
    assert named.read_bytes() == before


@pytest.mark.parametrize(("named", "given"), [("real", "link"), ("link", "real")])
def test_a_fold_never_overwrites_its_table_through_a_link(table, tmp_path, capsys, named, given):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = table.rename(tmp_path / "real" / "002.parquet").read_bytes()
    command = ["data", "split", "fgnet-lopo", f"{tmp_path}/{named}/002.parquet", f"{tmp_path}/{given}"]
    assert cli.main(command) == cli.WRONG_USAGE
    assert "would overwrite TABLE" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in (tmp_path / "real").iterdir()} == {"002.parquet": before}


@pytest.mark.parametrize("name", ["002.parquet", "split.json"])
@pytest.mark.parametrize("as_table", [False, True])
def test_only_its_own_folds_are_overwritten(table, tmp_path, capsys, name, as_table):
    output = tmp_path / "folds"
    output.mkdir()
    mine = table.read_bytes() if as_table else b'{"folds": "mine"}'
    (output / name).write_bytes(mine)
    command = ["data", "split", "fgnet-lopo", str(table), str(output)]
    assert cli.main(command) == cli.WRONG_USAGE
    assert f"{output}/{name}: not written by cilf data split" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in output.iterdir()} == {name: mine}
    (output / name).unlink()
    assert [cli.main(command), cli.main(command)] == [0, 0]
    assert (output / "split.json").exists()
