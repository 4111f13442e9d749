"""A run that ended early and those that resumed it count as one: parts of one folder are not drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_labels import MODEL, face, photograph

from cilf import cli
from cilf.config import LabelOptions
from cilf.labelling.records import Record
from cilf.labelling.summary import Summary
from cilf.report.attempts import attempts

INTERRUPTED = "KeyboardInterrupt: "
"""The error in records of earlier versions."""


def record(name: str, error: str | None = None, place: str = "/p", model: str = MODEL, **options: object) -> Record:
    return Record(run=name, model=model, error=error, options={"input": place, "include": [], **options})


@pytest.mark.parametrize(
    ("records", "killed", "together"),
    [
        ([record("1"), record("2")], "", ["1", "2"]),
        ([record("1", "interrupted"), record("2")], "", ["12"]),
        ([record("1", "interrupted"), record("2", "JobError: full"), record("3"), record("4")], "", ["123", "4"]),
        ([record("1", "interrupted"), record("2", place="/q"), record("3")], "", ["2", "13"]),
        ([record("1", "interrupted", limit=5), record("2", batch_size=8)], "", ["12"]),
        ([record("1", "interrupted"), record("2", include=["*.jpg"])], "", ["1", "2"]),
        ([record("1", "interrupted"), record("2", model="other")], "", ["1", "2"]),
        ([record("2"), record("4")], "13", ["12", "34"]),
        ([record("3", place="/q")], "12", ["123"]),
        ([], "1", ["1"]),
    ],
)
def test_runs_that_belong_together(records, killed, together):
    by_name = {each.run: each for each in records}
    runs = [(each.run, each.model) for each in records] + [(name, MODEL) for name in killed]
    assert ["".join(group) for group in attempts(runs, by_name, 60)] == together


def test_a_run_whose_record_was_not_read_is_no_attempt():
    by_name = {name: record(name) for name in ("3", "4")}
    assert attempts([(name, MODEL) for name in "1234"], by_name, 2) == [["1"], ["2"], ["3"], ["4"]]


def written(name: str, error: str | None, place: str, include: tuple[str, ...] = ()) -> Record:
    """The record of a run after it is written and read."""
    summary = Summary(name, LabelOptions(place, "out", include=include), f"out/labels/model={MODEL}", "", error=error)
    return Record.model_validate_json(json.dumps(summary.record()))


@pytest.mark.parametrize("place", ["photos", "./photos", "photos/", "other/../photos", "{here}/photos"])
def test_an_input_spelled_another_way_is_the_same(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    globs = ("*.jpg", "*.png")
    records = {
        "1": written("1", "interrupted", "photos", globs),
        "2": written("2", None, place.format(here=tmp_path), globs[::-1]),
    }
    assert attempts([("1", MODEL), ("2", MODEL)], records, 60) == [["1", "2"]]


def test_one_spelling_in_two_folders_is_two_inputs(tmp_path, monkeypatch):
    records = {}
    for name, error in (("1", "interrupted"), ("2", None)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        records[name] = written(name, error, "photos")
    assert attempts([("1", MODEL), ("2", MODEL)], records, 60) == [["1"], ["2"]]


@pytest.fixture
def folder_of_decades(tmp_path, week, write_run) -> Callable[..., Path]:
    """Write a week of usual nights, and one with a folder that is sorted by age: its first half has children. That
    night takes one run per error, None for one that succeeds."""

    def write(*errors: str | None) -> Path:
        week(str(tmp_path))
        ages = [8.0] * 200 + [72.0] * 200
        for number, error in enumerate(errors):
            half = ages[200 * number : 200 * number + 200]
            rows = [photograph(9000 + 200 * number + n, [face(age)]) for n, age in enumerate(half)]
            write_run(str(tmp_path), f"20261109T0{number + 1}0000Z-bbbbbb", rows, error=error)
        return tmp_path

    return write


def report(output: Path, *options: str) -> str:
    assert cli.main(["report", str(output), *options]) == 0
    return (output / "report.html").read_text()


def test_both_halves_are_compared_as_one(folder_of_decades):
    html = report(folder_of_decades(INTERRUPTED, None))
    assert "newest run, 400 faces" in html
    assert "Run from 20261109T010000Z-bbbbbb on against the 7 runs before" in html
    assert "20261109T010000Z-bbbbbb" in html
    assert '<td class="text">interrupted</td>' in html
    assert "KeyboardInterrupt" not in html
    assert "was interrupted" not in html, "a later run has resumed it"


def test_a_later_run_is_compared_with_both_halves(folder_of_decades, write_run, capsys):
    output = folder_of_decades("interrupted", None)
    (output / "runs" / "20261109T030000Z-bbbbbb.json").write_text(record("20261109T030000Z-bbbbbb").model_dump_json())
    rows = [photograph(9500 + n, [face(8.0 if n % 2 else 72.0)]) for n in range(400)]
    write_run(str(output), "20261110T010000Z-cccccc", rows)
    report(output)
    assert "No new drift: the newest ages differ from the usual ones as an earlier run's did" in capsys.readouterr().out


def test_an_interrupted_run_says_so(folder_of_decades):
    html = report(folder_of_decades("interrupted"))
    assert 'class="warning">The newest run was interrupted: repeat the command to resume it.' in html


def test_since_takes_in_the_earlier_attempts(folder_of_decades):
    assert "newest run, 400 faces" in report(folder_of_decades("interrupted", None), "--since", "20261109T02")


@pytest.mark.parametrize("error", ["MemoryError: ", "TimeoutError: "])
def test_an_error_without_a_text_has_no_colon(folder_of_decades, error):
    html = report(folder_of_decades(error))
    assert f"ended early: {error.rstrip(': ')}</p>" in html


def test_the_start_is_no_part_of_the_pace(tmp_path, write_run):
    rows = [photograph(1, [face(30.0)])]
    told = {"seconds": 25.0, "seconds_to_first_row": 15.0}
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", rows, counts={"ok": 1000}, **told)
    write_run(
        str(tmp_path), "20261102T010000Z-aaaaaa", rows, counts={"ok": 3}, seconds=15.01, seconds_to_first_row=15.0
    )
    write_run(
        str(tmp_path), "20261103T010000Z-aaaaaa", rows, counts={"ok": 2000}, seconds=15.0, seconds_to_first_row=15.0
    )
    html = report(tmp_path, "--price", "3.6")
    assert "large enough to measure labelled 100.0 images/s" in html
    paces = [json.loads(file.read_text()) for file in sorted((tmp_path / "runs").iterdir())]
    assert [Record.model_validate(each).pace for each in paces] == [100.0, None, None]
    million = "10.02"  # 10,015 s at 3.6 an hour: one start and 10,000 s of work
    assert html.count(million) == 1


def test_no_run_is_large_enough_for_a_pace(tmp_path, write_run):
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", [photograph(1, [face(30.0)])])
    html = report(tmp_path)
    assert "<title>Speed</title>" not in html
    assert "Speed and cost" in html
