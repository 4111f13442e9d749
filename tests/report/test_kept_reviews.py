"""People's changes to a review queue survive every later report, and become training rows."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from made_up_labels import MODEL, face, photograph

from cilf import cli, schema
from cilf.report import review_files
from cilf.storage import Location, locate

FIRST, SECOND = "20261101T010000Z-aaaaaa", "20261102T010000Z-bbbbbb"
LARGE = 1234567890123456789
"""An id that spreadsheets round."""


@pytest.fixture
def output(tmp_path, write_run) -> Path:
    """Twenty photographs of two faces each."""
    faces = [face(30.0), face(8.0, left=200.0, right=290.0)]
    write_run(str(tmp_path / "out"), FIRST, [photograph(LARGE + n, faces, uri=f"/p/Müller {n}.jpg") for n in range(20)])
    return tmp_path / "out"


@pytest.fixture
def second_night(output, write_run) -> Callable[[], None]:
    def write() -> None:
        write_run(str(output), SECOND, [photograph(n, [face(50.0, accepted=False)]) for n in range(30)])
        report(output)

    return write


def report(output: Path | str, *options: str) -> None:
    assert cli.main(["report", str(output), *options]) == 0


def learn(output: Path | str, *places: Path | str) -> dict[str, tuple[float, float]]:
    """Age and left edge by photograph."""
    target = (
        Path(str(places[0])).with_name("learned.parquet") if "://" not in str(places[0]) else Path("learned.parquet")
    )
    report(output, "--corrections", *map(str, places), "--training-rows", str(target))
    table = pq.read_table(target)
    target.unlink()
    assert table.schema.equals(schema.CORRECTED)
    return {row["uri"]: (row["age"], row["left"]) for row in table.to_pylist()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def fill_in(path: Path, age: str = "71") -> None:
    """The first row's true_age."""
    rows = rows_of(path)
    rows[0]["true_age"] = age
    path.write_text(as_csv(rows))


def notes_alone(path: Path) -> None:
    path.write_text(as_csv([{**row, "note": "is this a doll?"} for row in rows_of(path)]))


def sorted_and_shortened(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *sorted(lines[1:])[:5]]))


def excel(path: Path) -> None:
    path.write_bytes(as_csv(rows_of(path), ";").encode("cp1252"))


def parquet_alone(path: Path) -> None:
    place = path.with_suffix(".parquet")
    table = pq.read_table(place)
    ages = pa.array([71.0] + [None] * (len(table) - 1), pa.float32())
    pq.write_table(table.set_column(table.schema.names.index("true_age"), "true_age", ages), place)


def by_hand(path: Path) -> None:
    path.write_text("who,what\nAnna,looked at all of them\n")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


WORK = [fill_in, notes_alone, sorted_and_shortened, excel, parquet_alone, by_hand, emptied]


@pytest.mark.parametrize("work", WORK)
def test_touched_files_stay(output, second_night, capsys, work):
    report(output)
    work(output / "review.csv")
    before = {name: (output / name).read_bytes() for name in ("review.csv", "review.parquet")}
    second_night()
    assert {name: (output / name).read_bytes() for name in before} == before
    new = rows_of(output / "review" / f"{SECOND}.csv")
    assert {row["run"] for row in new} == {FIRST, SECOND}
    assert pq.read_table(output / "review" / f"{SECOND}.parquet")["id"].to_pylist() == [int(row["id"]) for row in new]
    assert f"{output}/review/{SECOND}.csv" in capsys.readouterr().out
    assert f"review/{SECOND}.csv and .parquet have all of them" in (output / "report.html").read_text()


def test_untouched_files_are_renewed(output, second_night):
    report(output)
    second_night()
    assert SECOND in {row["run"] for row in rows_of(output / "review.csv")}
    assert [file.name for file in (output / "review").iterdir()] == ["written.json"]
    assert not list(output.glob(".*.tmp"))


def test_every_queue_is_kept_and_only_those(output):
    report(output)
    fill_in(output / "review.csv")
    report(output, "--review", "5")
    report(output, "--review", "6")  # nobody has changed the queue of five
    assert len(rows_of(output / "review" / f"{FIRST}.csv")) == 6
    fill_in(output / "review" / f"{FIRST}.csv")
    report(output, "--review", "7")
    assert len(rows_of(output / "review" / f"{FIRST}.csv")) == 6
    assert len(rows_of(output / "review" / f"{FIRST}-2.csv")) == 7


def test_faces_with_an_answer_are_not_asked_for_again(output):
    report(output, "--review", "30")
    rows = rows_of(output / "review.csv")
    answers = [{**row, "true_age": "30"} for row in rows[:25]]
    (output / "review.csv").write_text(as_csv([*answers, *rows[25:]], ";"))
    report(output, "--review", "40")
    (output / "review" / "broken.csv").write_bytes(b'"')
    (output / "review" / "broken.parquet").write_bytes(b"PAR1")
    asked = {(row["id"], row["face"]) for row in rows_of(output / "review" / f"{FIRST}.csv")}
    every = {(str(LARGE + n), face) for n in range(20) for face in "12"}
    assert asked == every - {(row["id"], row["face"]) for row in answers}
    report(output, "--review", "40")


@pytest.mark.parametrize(
    "odd",
    [
        {"id": ""},
        {"id": "99999999999999999999"},
        {"id": "7.5"},
        {"id": "Anna"},
        {"face": "99999999999"},
        {"face": "0"},
        {"face": "left"},
    ],
    ids=str,
)
def test_a_row_that_names_no_face_costs_only_itself(output, odd):
    report(output, "--review", "40")
    rows = rows_of(output / "review.csv")
    answers = [{**rows[0], "true_age": "30", **odd}, {**rows[1], "true_age": "30"}]
    (output / "review.csv").write_text(as_csv([*answers, *rows[2:]]))
    report(output, "--review", "40")
    asked = [(row["id"], row["face"]) for row in rows_of(output / "review" / f"{FIRST}.csv")]
    assert len(asked) == 39
    assert (rows[1]["id"], rows[1]["face"]) not in asked


@pytest.mark.parametrize("written", ["{:.2E}", "{:.15g}", "{:.5E}"])
@pytest.mark.parametrize("number", ["{}", "{}.0"])
def test_a_face_whose_id_was_rounded_is_not_asked_for_again(output, written, number):
    report(output, "--review", "40")
    rows = rows_of(output / "review.csv")
    rounded = written.format(float(rows[0]["id"])).replace(".", ",")
    answers = [{**rows[0], "true_age": "30", "id": rounded}, {**rows[1], "true_age": "30"}]
    answers = [{**answer, "face": number.format(answer["face"])} for answer in answers]
    (output / "review.csv").write_text(as_csv([*answers, *rows[2:]], ";"))
    report(output, "--review", "40")
    asked = {(row["uri"], row["face"]) for row in rows_of(output / "review" / f"{FIRST}.csv")}
    assert asked == {(row["uri"], row["face"]) for row in rows[2:]}


def test_a_table_that_cannot_be_read_stops_no_report(output):
    report(output)
    columns = [pa.array(["1"]), pa.array(["2"]), pa.array(["30"])]
    pq.write_table(pa.Table.from_arrays(columns, ["id", "id", "true_age"]), output / "review" / "twice.parquet")
    report(output)


@pytest.mark.parametrize("record", [b"{torn", b"{}", None])
def test_a_file_that_nobody_remembers_to_have_written_stays(output, second_night, record):
    report(output)
    before = (output / "review.csv").read_bytes()
    place = output / "review" / "written.json"
    place.unlink() if record is None else place.write_bytes(record)
    second_night()
    assert (output / "review.csv").read_bytes() == before
    assert (output / "review" / f"{SECOND}.csv").exists()


def test_a_folder_of_that_name_stays(output):
    (output / "review.csv").mkdir()
    report(output)
    assert (output / "review" / f"{FIRST}.csv").exists()


def test_what_is_saved_in_the_last_moment_stays(output, second_night, monkeypatch):
    report(output)
    read = review_files.read

    def saved_after_the_look(place: Location) -> bytes | None:
        found = read(place)
        if place.path.endswith("out/review.csv"):
            fill_in(output / "review.csv", "33")
        return found

    monkeypatch.setattr(review_files, "read", saved_after_the_look)
    second_night()
    assert rows_of(output / "review.csv")[0]["true_age"] == "33"
    assert (output / "review" / f"{SECOND}.csv").exists()


def test_on_s3(output, write_run, bucket):
    url = bucket({})
    write_run(url, FIRST, [photograph(1, [face(30.0)])])
    report(url)
    place = locate(f"{url}/review.csv")
    filled = place.fs.cat_file(place.path).replace(b",\n", b",71\n")
    place.fs.pipe_file(place.path, filled)
    report(url)
    assert place.fs.cat_file(place.path) == filled
    assert place.fs.exists(f"{place.path.removesuffix('.csv')}/{FIRST}.csv")
    assert learn(url, url) == {"/photographs/1.jpg": (71.0, 10.0)}


@pytest.mark.parametrize("name", ["report.html", "mine.parquet"])
def test_files_of_others_are_not_replaced(output, name, capsys):
    report(output)
    fill_in(output / "review.csv")
    (output / name).write_text("<html><body>Our holidays</body></html>")
    learned = ["--corrections", str(output / "review.csv"), "--training-rows", str(output / "mine.parquet")]
    assert cli.main(["report", str(output), *(learned if name == "mine.parquet" else [])]) == cli.WRONG_USAGE
    assert f"{output}/{name}" in capsys.readouterr().err
    assert "Our holidays" in (output / name).read_text()


def test_a_review_file_is_no_place_for_training_rows(output, capsys):
    report(output)
    fill_in(output / "review.csv")
    before = (output / "review.parquet").read_bytes()
    place = str(output / "review.parquet")
    told = cli.main(["report", str(output), "--corrections", str(output), "--training-rows", place])
    assert told == cli.WRONG_USAGE
    assert (output / "review.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace(",", ";").encode("utf-8-sig"),
        lambda text: text.replace(",", ";").encode("cp1252"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode("cp1252"),
        lambda text: text.replace("\n", "\r\n").replace("true_age", " True_Age ").encode(),
        lambda text: (text + ",,,\n\n,,,\n").encode(),
    ],
    ids=["mark", "western", "utf-16", "sep", "upper case", "empty rows"],
)
def test_files_as_spreadsheets_save_them(output, tmp_path, written):
    text = f"id,uri,note,true_age\n{LARGE + 3},/p/Müller 3.jpg,näht,71\n{LARGE + 4},/p/Müller 4.jpg,,NaN\n"
    (tmp_path / "c.csv").write_bytes(written(text))
    assert learn(output, tmp_path / "c.csv") == {"/p/Müller 3.jpg": (71.0, 10.0)}


@pytest.mark.parametrize("rounded", [str(LARGE + 2)[:15] + "0000", "1.23457E+18", "1,23E+18"])
def test_a_rounded_id_is_found_by_its_photograph(output, tmp_path, rounded):
    lines = ["id;face;uri;true_age", f"{rounded};2;/p/Müller 2.jpg;9", f"{rounded};1;/p/gone.jpg;9"]
    (tmp_path / "c.csv").write_text("\n".join(lines), encoding="utf-8")
    assert learn(output, tmp_path / "c.csv") == {"/p/Müller 2.jpg": (9.0, 200.0)}


def test_ids_as_a_data_frame_rounds_them(output, tmp_path):
    table = pa.table({"id": [float(LARGE + 2)], "uri": ["/p/Müller 2.jpg"], "true_age": [9.0], "face": [2.0]})
    pq.write_table(table, tmp_path / "c.parquet")
    assert learn(output, tmp_path / "c.parquet") == {"/p/Müller 2.jpg": (9.0, 200.0)}


def test_two_answers_in_one_file_are_told_apart(output, tmp_path, capsys):
    table = pa.table({"id": [LARGE + 2] * 2, "uri": ["/p/Müller 2.jpg", None], "true_age": [9.0, 8.0], "face": [2, 2]})
    pq.write_table(table, tmp_path / "c.parquet")
    assert learn(output, tmp_path / "c.parquet") == {"/p/Müller 2.jpg": (8.0, 200.0)}
    assert f"/p/Müller 2.jpg: 9 in {tmp_path}/c.parquet, 8 in a later row" in capsys.readouterr().out


def test_all_files_count_and_the_newest_answer_wins(output, second_night, capsys):
    report(output, "--review", "40")
    rows = rows_of(output / "review.csv")
    old, other = rows[0], rows[1]
    (output / "review.csv").write_text(as_csv([{**old, "true_age": "20"}, {**other, "true_age": "60"}]))
    second_night()
    (output / "review" / "anna.csv").write_text(as_csv([{**old, "true_age": "21"}]))
    (output / "review" / "list.xlsx").write_bytes(b"PK")
    pa_csv.write_csv(pa.table({"street": ["x"]}), output / "other.csv")
    os.utime(output / "review.csv", (1e9, 1e9))
    capsys.readouterr()
    expected = {(float(row["left"]), row["uri"]): age for row, age in ((old, 21.0), (other, 60.0))}
    target = output / "learned.parquet"
    report(output, "--corrections", str(output), "--training-rows", str(target))
    found = {(row["left"], row["uri"]): row["age"] for row in pq.read_table(target).to_pylist()}
    assert found == expected
    said = capsys.readouterr().out
    assert f"{old['uri']}: 20 in {output}/review.csv, 21 in {output}/review/anna.csv, which was changed last" in said
    assert f"not read: {output}/review/list.xlsx; save them as CSV" in said
    given = ["--corrections", str(output / "review" / "anna.csv"), str(output / "review.csv")]
    report(output, *given, "--training-rows", str(target))
    assert "2 training rows in" in capsys.readouterr().out
    os.utime(output / "review" / "anna.csv", (9e8, 9e8))
    report(output, *given[:2], "--corrections", given[2], "--training-rows", str(target))
    assert "21 in" in (said := capsys.readouterr().out)
    assert "20 in" in said.partition("21 in")[2]


@pytest.mark.parametrize("deleted", [False, True])
def test_answers_outlive_a_change_of_model(output, write_run, deleted):
    report(output, "--review", "40")
    rows = [row for row in rows_of(output / "review.csv") if row["uri"] == "/p/Müller 7.jpg"]
    answers = [{**row, "true_age": "30" if row["face"] == "1" else "8"} for row in rows]
    (output / "review.csv").write_text(as_csv(answers))
    # The new model's detector finds one more face, which is the biggest.
    faces = [face(60.0, left=0.0), face(31.0), face(9.0, left=200.0, right=290.0)]
    new = [photograph(LARGE + n, faces, uri=f"/p/Müller {n}.jpg") for n in range(20)]
    write_run(str(output), SECOND, new, model="fedcba987654")
    if deleted:
        shutil.rmtree(output / "labels" / f"model={MODEL}")
    target = output / "learned.parquet"
    report(output, "--corrections", str(output), "--training-rows", str(target))
    assert {(row["left"], row["age"]) for row in pq.read_table(target).to_pylist()} == {(10.0, 30.0), (200.0, 8.0)}


def test_a_folder_without_answers_is_refused(output, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "list.ods").write_bytes(b"PK")
    given = ["--corrections", str(tmp_path / "empty"), "--training-rows", str(tmp_path / "t.parquet")]
    assert cli.main(["report", str(output), *given]) == cli.WRONG_USAGE
    said = capsys.readouterr().err
    assert "no .csv or .parquet file with the columns id and true_age" in said
    assert "list.ods" in said
