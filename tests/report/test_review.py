"""The queue holds the faces that its rules select, and a reviewer's ages become training rows."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from made_up_labels import face, photograph

from cilf import cli, schema

RUN = "20261101T010000Z-aaaaaa"


@pytest.fixture
def output(tmp_path, write_run) -> str:
    """1,000 photographs: 10 faces of each kind that a rule selects, one that two rules select, and plain ones. The last
    hundred have two faces each."""
    kinds = [
        *(face(30.0, accepted=False, expected_error=10.0 + n) for n in range(10)),
        *(face(30.0, corrections=1, first_age=31.0 + n) for n in range(10)),
        *(face(30.0, detection=0.3 + n / 100) for n in range(10)),
        face(30.0, accepted=False, expected_error=99.0, detection=0.1),
    ]
    plain = [face(40.0)] * (900 - len(kinds))
    rows = [photograph(n, [one]) for n, one in enumerate([*kinds, *plain])]
    rows += [photograph(n, [face(50.0), face(8.0, left=200.0)]) for n in range(900, 1000)]
    write_run(str(tmp_path / "out"), RUN, rows)
    return str(tmp_path / "out")


def queue(output: str, *options: str) -> list[dict[str, str]]:
    assert cli.main(["report", output, *options]) == 0
    with (Path(output) / "review.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_rule_has_its_share(output):
    rows = queue(output, "--review", "20")
    by_rule = {rule: [row for row in rows if row["rule"] == rule] for rule in ("unsure", "moved", "doubtful", "random")}
    assert {rule: len(found) for rule, found in by_rule.items()} == {
        "unsure": 8,
        "moved": 4,
        "doubtful": 4,
        "random": 4,
    }
    assert [row["id"] for row in by_rule["unsure"]] == ["30", "9", "8", "7", "6", "5", "4", "3"]
    assert [row["id"] for row in by_rule["moved"]] == ["19", "18", "17", "16"]
    assert [row["id"] for row in by_rule["doubtful"]] == ["20", "21", "22", "23"]  # 30 is there already
    assert all(float(row["age"]) in (8, 30, 40, 50) for row in by_rule["random"])
    assert {row["true_age"] for row in rows} == {""}
    assert queue(output, "--review", "20") == rows


def test_rules_that_find_little_leave_room(output):
    rows = queue(output, "--review", "200")
    counts = {rule: sum(row["rule"] == rule for row in rows) for rule in ("unsure", "moved", "doubtful", "random")}
    assert counts == {"unsure": 11, "moved": 10, "doubtful": 10, "random": 169}
    assert len({(row["id"], row["face"]) for row in rows}) == 200
    table = pq.read_table(f"{output}/review.parquet")
    assert table["id"].to_pylist() == [int(row["id"]) for row in rows]
    assert table["true_age"].type == pa.float32()


def test_no_queue(output):
    assert cli.main(["report", output, "--review", "0"]) == 0
    assert not (Path(output) / "review.csv").exists()
    assert "To review" not in (Path(output) / "report.html").read_text()


def test_the_newest_run_comes_first_where_it_is_large_enough(output, write_run):
    new = [photograph(n, [face(60.0, accepted=False, expected_error=50.0)]) for n in range(2000, 2500)]
    write_run(output, "20261102T010000Z-bbbbbb", new)
    assert {row["run"] for row in queue(output, "--review", "10")} == {"20261102T010000Z-bbbbbb"}
    assert {row["run"] for row in queue(output, "--review", "20")} == {"20261102T010000Z-bbbbbb", RUN}


def test_thumbnails_are_shown(tmp_path, write_run, photograph):
    from made_up_labels import photograph as row

    crops = [photograph(number) for number in (1, 2)]
    faces = [face(50.0), face(8.0, accepted=False)]
    write_run(str(tmp_path), RUN, [row(1, faces, thumbnails=crops)], schema.THUMBNAILS)
    assert cli.main(["report", str(tmp_path)]) == 0
    html = (tmp_path / "report.html").read_text()
    shown = [html.index(base64.b64encode(crop).decode()) for crop in crops]
    assert shown[1] < shown[0]  # the second face is the first of the queue


def corrections(path: Path, **columns: list[object]) -> str:
    pa_csv.write_csv(pa.table(columns), path) if path.suffix == ".csv" else pq.write_table(pa.table(columns), path)
    return str(path)


def learn(output: str, file: str, target: Path) -> pa.Table:
    assert cli.main(["report", output, "--corrections", file, "--training-rows", str(target)]) == 0
    return pq.read_table(target)


def test_a_filled_in_queue_becomes_training_rows(output, tmp_path, capsys):
    rows = queue(output, "--review", "200")
    second = next(row for row in rows if row["face"] == "2")
    second["true_age"] = "9"
    rows[0]["true_age"] = "71,5"  # as a German spreadsheet writes it
    path = tmp_path / "filled.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    learned = learn(output, str(path), tmp_path / "rows.parquet")
    assert learned.schema.equals(schema.CORRECTED)
    by_uri = {row["uri"]: row for row in learned.to_pylist()}
    box = {"top": 20.0, "right": 110.0, "bottom": 140.0}
    same = {"subject": None, "split": "train", **box}
    assert by_uri == {
        rows[0]["uri"]: {"uri": rows[0]["uri"], "age": 71.5, "left": 10.0, **same},
        second["uri"]: {"uri": second["uri"], "age": 9.0, "left": 200.0, **same},
    }
    assert "2 training rows in" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_and_ages_are_enough(output, tmp_path, suffix, capsys):
    file = corrections(tmp_path / f"c.{suffix}", id=[900, 5, 12345, 901], true_age=[51.0, 4.0, 3.0, None])
    learned = learn(output, file, tmp_path / "rows.parquet")
    assert dict(zip(learned["uri"].to_pylist(), learned["age"].to_pylist(), strict=True)) == {
        "/photographs/5.jpg": 4.0,
        "/photographs/900.jpg": 51.0,
    }
    assert "1 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1, 2], "true_age": ["20", "old"]}, "row 2: true_age 'old' is not an age between 0 and 125 years"),
        ({"id": [1], "true_age": ["250"]}, "row 1: true_age '250'"),
        ({"id": ["1.2E+18"], "true_age": ["20"]}, "import the column id as text"),
        ({"id": [1], "true_age": ["20"], "face": ["0"]}, "row 1: face '0' is not a number from 1"),
        ({"id": [1, 1], "true_age": ["20", "30"]}, "face 1 of id 1 has two ages, 20 and 30"),
        ({"id": [1], "true_age": [""]}, "no true_age is filled in"),
        ({"id": [77777], "true_age": ["20"]}, "none of its 1 faces is in the labels"),
        ({"uri": ["a"], "age": ["20"]}, "has no column id, true_age (its columns: uri, age)"),
    ],
)
def test_wrong_corrections_are_refused(output, tmp_path, capsys, columns, message):
    file = corrections(tmp_path / "c.csv", **columns)
    target = tmp_path / "rows.parquet"
    assert cli.main(["report", output, "--corrections", file, "--training-rows", str(target)]) == cli.WRONG_USAGE
    assert message in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.jsonl", "parquet", "rows.parquet.gz"])
def test_training_rows_are_named_as_parquet(output, tmp_path, capsys, name):
    file = corrections(tmp_path / "c.csv", id=[5], true_age=["20"])
    target = tmp_path / name
    assert cli.main(["report", output, "--corrections", file, "--training-rows", str(target)]) == cli.WRONG_USAGE
    assert f"{target}: expected a name that ends in .parquet" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corrections", "c.csv"], "go together"),
        (["--training-rows", "t.parquet"], "go together"),
        (["--corrections", "c.xlsx", "--training-rows", "t.parquet"], "expected a .csv or .parquet file"),
        (["--corrections", "gone.csv", "--training-rows", "t.parquet"], "there is no such file"),
    ],
)
def test_wrong_options_are_refused(output, capsys, arguments, message):
    assert cli.main(["report", output, *arguments]) == cli.WRONG_USAGE
    assert message in capsys.readouterr().err
