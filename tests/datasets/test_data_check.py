"""`cilf data check`: its messages, and that training reads the table that it writes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cilf import cli
from cilf.config import DataCheckOptions
from cilf.manifest.reading import open_manifest
from cilf.storage import locate
from cilf.training.examine import examine

FACES = ("images/001A02.JPG", "images/001A22.JPG", "images/002A35.JPG", "images/wrong.JPG")


def test_it_prints_a_summary_and_the_problems(lay_out, capsys):
    assert cli.main(["data", "check", "fgnet", str(lay_out(*FACES))]) == 0
    said = capsys.readouterr().out
    assert "fgnet: 3 rows, 2 subjects, ages 2 to 35" in said
    assert ["21-40", "2"] in [line.split()[:2] for line in said.splitlines()]
    assert "images/wrong.JPG" in said
    assert "left out" in said


def test_groups_are_counted(lay_out, capsys):
    assert cli.main(["data", "check", "faces", str(lay_out("004_o_m_a_a.jpg", "140_y_f_h_b.jpg"))]) == 0
    said = capsys.readouterr().out
    assert "2 subjects, age groups instead of ages" in said
    assert said.index("19-31") < said.index("69-80")
    assert "No problems found" in said


def test_a_set_without_usable_rows(lay_out, capsys):
    text = "image,mean,stdv\n1.jpg,?,1\n"
    assert cli.main(["data", "check", "clap2016", str(lay_out("train/1.jpg", train_gt__csv=text))]) == 0
    said = capsys.readouterr().out
    assert "clap2016: 0 rows" in said
    assert "a label cannot be read" in " ".join(said.split())


def test_training_reads_the_table(lay_out, tmp_path, photograph):
    folder = lay_out(*FACES)
    for number, name in enumerate(FACES):
        (folder / name).write_bytes(photograph(number))
    (folder / FACES[2]).write_bytes(b"no picture")
    output = tmp_path / "elsewhere" / "fgnet.parquet"
    assert cli.main(["data", "check", "fgnet", str(folder), "--output", str(output)]) == 0
    table = pq.read_table(output)
    rows = examine(table)
    assert rows["age"].to_pylist() == [2, 22, 35]
    assert rows["subject"].to_pylist() == ["001", "001", "002"]
    assert [reason is None for reason in rows["reason"].to_pylist()] == [True, True, False]
    wrong = pacsv.read_csv(tmp_path / "elsewhere" / "fgnet.problems.csv").to_pylist()
    assert [(row["path"], row["kept"]) for row in wrong] == [("images/wrong.JPG", False)]


def test_only_its_own_table_is_overwritten(lay_out, tmp_path, photograph, capsys):
    folder, output = lay_out(*FACES), tmp_path / "out" / "fgnet.parquet"
    for _ in range(2):
        assert cli.main(["data", "check", "fgnet", str(folder), "--output", str(output)]) == 0
    for mine in (b"mine", photograph()):
        output.write_bytes(mine)
        assert cli.main(["data", "check", "fgnet", str(folder), "--output", str(output)]) == 2
        assert output.read_bytes() == mine
    pq.write_table(pa.table({"uri": ["a"]}), output)
    assert cli.main(["data", "check", "fgnet", str(folder), "--output", str(output)]) == 2
    assert "not a table of `cilf data check`" in capsys.readouterr().err


@pytest.mark.parametrize("mine", ["who,what\nAnna,all of it\n", ""])
def test_only_its_own_problems_are_overwritten(lay_out, tmp_path, capsys, mine):
    folder, output = lay_out(*FACES), tmp_path / "out"
    command = ["data", "check", "fgnet", str(folder), "--output", str(output / "faces.parquet")]
    output.mkdir()
    (output / "faces.problems.csv").write_text(mine)
    assert cli.main(command) == cli.WRONG_USAGE
    assert "faces.problems.csv" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in output.iterdir()} == {"faces.problems.csv": mine}
    (output / "faces.problems.csv").unlink()
    assert [cli.main(command), cli.main(command)] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fgnet", "{folder}/gone"], "does not exist"),
        (["agedb", "{folder}"], "is not AgeDB: expected images named like"),
        (["fgnet", "s3://bucket/fgnet"], "is not a local folder"),
        (["fgnet", "{folder}", "--output", "{folder}/table.csv"], "does not end in .parquet"),
        (["fgnet", "{folder}", "--output", "/proc/table.parquet"], "cannot write to OUTPUT"),
        (["nonsense", "{folder}"], "Choose from"),
        (["fgnet"], "--folder"),
    ],
)
def test_wrong_usage(lay_out, capsys, arguments, message):
    folder = lay_out(*FACES)
    assert cli.main(["data", "check", *(argument.format(folder=folder) for argument in arguments)]) == cli.WRONG_USAGE
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("cilf data check: ")
    assert said.out == ""


def test_labelling_reads_the_table_as_a_manifest(lay_out, tmp_path):
    folder = lay_out(*FACES)
    assert cli.main(["data", "check", "fgnet", str(folder), "--output", f"{tmp_path}/t.parquet"]) == 0
    manifest = open_manifest(locate(f"{tmp_path}/t.parquet"))
    rows = [row for part in manifest.parts for table in part() for row in table.to_pylist()]
    assert [row["uri"] for row in rows] == [f"{folder}/{name}" for name in FACES[:3]]
    assert [row["age"] for row in rows] == [2, 22, 35]


def test_a_folder_without_read_permission(lay_out, monkeypatch, capsys):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    folder = lay_out(*FACES)
    monkeypatch.setattr("os.scandir", refuse)
    assert cli.main(["data", "check", "fgnet", str(folder)]) == cli.WRONG_USAGE
    assert f"cannot read {folder}: Permission denied" in capsys.readouterr().err


def test_options_from_yaml(lay_out, tmp_path, capsys):
    (tmp_path / "check.yaml").write_text(f"output: {tmp_path}/table.parquet\n")
    arguments = ["data", "check", "fgnet", str(lay_out(*FACES)), "--config", f"{tmp_path}/check.yaml"]
    assert cli.main(arguments) == 0
    assert pq.read_table(tmp_path / "table.parquet").num_rows == 3


def test_an_interrupt(monkeypatch, capsys):
    def interrupted(options: DataCheckOptions) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("cilf.datasets.check.check", interrupted)
    assert cli.main(["data", "check", "fgnet", "x"]) == cli.INTERRUPTED
    assert capsys.readouterr().err.startswith("cilf data check: interrupted")
