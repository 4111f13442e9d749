"""The page shows what the labels hold, and is robust against any contents."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_labels import face, photograph

from cilf import cli
from cilf.report.page import cut


class Shown(HTMLParser):
    """Tables by caption, as lists of rows of texts, and everything that could ask for another file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.asks: list[str] = []
        self.tags: list[str] = []
        self._into: list[str] | None = None
        self._caption = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asks += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "caption":
            self._into = caption = []
            self._caption_text = caption
        elif tag == "tr":
            if "thead" in self.tags[-2:]:
                self._caption = "".join(self._caption_text)
                self.tables[self._caption] = []
            self.tables[self._caption].append([])
        elif tag in ("td", "th"):
            self._into = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._into is not None:
            self.tables[self._caption][-1].append("".join(self._into))
        if tag in ("td", "th", "caption"):
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into.append(data)


@pytest.fixture
def report(capsys):
    """Run `cilf report` and return the parsed page and what was printed."""

    def run(output: str, *options: str) -> tuple[Shown, str]:
        assert cli.main(["report", output, *options]) == 0, capsys.readouterr().err
        return Shown((Path(output) / "report.html").read_text()), capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """Run `cilf report` with arguments that it must refuse, and return its only message."""

    def run(*arguments: str) -> str:
        assert cli.main(["report", *arguments]) == cli.WRONG_USAGE
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) == 1
        return said

    return run


def test_counts_are_exact(tmp_path, write_run, report):
    first = [photograph(n, [face(30.0), face(50.0, accepted=False)]) for n in range(1500)]
    first += [photograph(n) for n in range(1500, 1700)]
    first += [photograph(n, status="missing", reason=f"gone since {n}") for n in range(1700, 1707)]
    second = [photograph(n, [face(20.0, corrections=2, expected_error=8.0)]) for n in range(2000, 3000)]
    second += [photograph(n, status="unreadable", reason="torn") for n in range(3000, 3004)]
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", first)
    write_run(str(tmp_path), "20261102T010000Z-bbbbbb", second, model="fedcba987654")
    shown, _ = report(str(tmp_path), "--price", "3.60")
    # The newest run has named the current model. Photographs of the other one are counted with that.
    assert shown.tables["By status"][1:] == [["ok", "1,000", "99.6%"], ["unreadable", "4", "0.4%"]]
    assert shown.tables["Runs"][1][1:] == ["1,004", "1,000", "0", "4", "1,000", "succeeded"]
    assert shown.tables["Runs"][2][1:] == ["1,707", "1,500", "200", "7", "3,000", "succeeded"]
    runs = shown.tables["Estimates by run"]
    assert [row[:4] for row in shown.tables["By status and reason, all runs"][1:]] == [["unreadable", "torn", "4", "4"]]
    assert [row[0] for row in runs[1:]] == ["20261102T010000Z-bbbbbb", "20261101T010000Z-aaaaaa"]
    assert runs[1][1:] == ["1,000", "20.0", "100.0%", "100.0%", "8.0", "20.0"]
    assert runs[2][1:] == ["3,000", "40.0", "50.0%", "0.0%", "4.0", "20.0"]
    models = shown.tables["By model, newest first"]
    assert models[1][:4] == ["fedcba987654", "made-up", "1,004", "99.6%"]
    assert models[2][4:9] == ["3,000", "40.0", "50.0%", "4.0", "20.0"]
    speed = shown.tables["By run, from the runs' records"]  # 1,004 in 36 s, of which 16 were the start
    assert speed[1] == [
        "20261102T010000Z-bbbbbb",
        "1,004",
        "0.6",
        "16.0",
        "50.2",
        "19.9",
        "10.0",
        "29.9",
        "0.04",
        "19.94",
    ]
    assert not [place for place in shown.asks if not place.startswith("data:")]
    (tmp_path / "current.json").write_text('{"model": "0123456789ab"}')
    shown, said = report(str(tmp_path))
    assert "1,707 objects, 1,500 with ages" in said
    assert shown.tables["By status"][1:] == [
        ["ok", "1,500", "87.9%"],
        ["no_face", "200", "11.7%"],
        ["missing", "7", "0.4%"],
    ]
    failures = shown.tables["By status and reason, all runs"]
    assert failures[1][:4] == ["no_face", "–", "200", "0"]
    assert failures[2][:4] == ["missing", "gone since …", "7", "0"]  # reasons that differ only in numbers count as one
    assert shown.tables["Runs"][1][1:] == ["1,004", "1,000", "0", "4", "1,000", "succeeded"]


def test_a_drifted_night_is_raised(tmp_path, week, report):
    assert week(str(tmp_path), last_mean=25.0) == 3200
    _, said = report(str(tmp_path))
    assert "Drift: the newest ages differ" in said
    assert 'class="warning">Drift' in (tmp_path / "report.html").read_text()


def test_an_undrifted_night_is_not(tmp_path, week, report):
    week(str(tmp_path))
    _, said = report(str(tmp_path), "--previous", "3")
    assert "No drift" in said
    assert 'class="warning"' not in (tmp_path / "report.html").read_text()
    assert "3 runs before, 1,200 faces" in (tmp_path / "report.html").read_text()


def test_a_night_without_anything_new_raises_nothing_again(tmp_path, week, write_run, report):
    week(str(tmp_path), last_mean=25.0)
    write_run(str(tmp_path), "20261109T010000Z-bbbbbb", [photograph(9000, status="unreadable", reason="torn")])
    said = report(str(tmp_path))[1]
    assert "Nothing new to compare: the last run that gave ages is 20261108T010000Z-aaaaaa" in said
    assert 'class="warning"' not in (tmp_path / "report.html").read_text()


def test_a_run_without_rows_is_not_the_newest(tmp_path, week, report):
    week(str(tmp_path), last_mean=25.0)
    newest = "20261108T010000Z-aaaaaa"
    record = '{"run": "20261109T010000Z-bbbbbb", "model": "0123456789ab", "error": %s}'
    for error in ("null", '"UsageError: another run holds the lease"', '"KeyboardInterrupt: "'):
        (tmp_path / "runs" / "20261109T010000Z-bbbbbb.json").write_text(record % error)
        assert "Drift: the newest ages differ" in report(str(tmp_path))[1]
        html = (tmp_path / "report.html").read_text()
        assert f"Newest run: {newest}" in html
        early = (
            "run, 20261109T010000Z-bbbbbb, ended early before its first row: UsageError: another run holds the lease"
        )
        stopped = "run, 20261109T010000Z-bbbbbb, was interrupted before its first row: repeat the command to resume it"
        assert (early in html, stopped in html) == ("Usage" in error, "Keyboard" in error)
        assert "KeyboardInterrupt" not in html


def test_the_runs_of_one_night_are_compared_together(tmp_path, week, write_run, report):
    week(str(tmp_path))
    for name in ("20261109T010000Z-aaaaaa", "20261109T030000Z-bbbbbb"):
        rows = [photograph(int(name[9:15]) + n, [face(8.0)]) for n in range(200)]
        write_run(str(tmp_path), name, rows)
    # The second half is like the first.
    assert "No new drift: the newest ages differ from the usual ones" in report(str(tmp_path))[1]
    assert "Drift: the newest ages differ" in report(str(tmp_path), "--since", "20261109")[1]
    assert "newest 2 runs, 400 faces" in (tmp_path / "report.html").read_text()
    assert "Nothing new to compare" in report(str(tmp_path), "--since", "20261110")[1]


def test_since_is_how_a_run_id_begins(tmp_path, refused):
    for since in ("2026-11-22", "yesterday", ""):
        assert "a run id or its first characters" in refused(str(tmp_path), "--since", since)


def test_another_model_is_not_compared_with(tmp_path, week, write_run, report):
    week(str(tmp_path))
    rows = [photograph(n, [face(80.0)]) for n in range(400)]
    write_run(str(tmp_path), "20261109T010000Z-bbbbbb", rows, model="fedcba987654")
    assert "first run of its model" in report(str(tmp_path))[1]


def test_a_run_that_ended_early_and_one_without_a_record(tmp_path, write_run, report):
    rows = [photograph(n, [face(30.0)]) for n in range(40)]
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", rows)
    write_run(str(tmp_path), "20261102T010000Z-bbbbbb", rows, error="JobError: the disk is full")
    report(str(tmp_path))
    assert "The newest run ended early: JobError: the disk is full" in (tmp_path / "report.html").read_text()
    (tmp_path / "runs" / "20261102T010000Z-bbbbbb.json").write_text("{torn")
    report(str(tmp_path))
    html = (tmp_path / "report.html").read_text()
    assert "has left no record" in html
    assert "left out: 20261102T010000Z-bbbbbb.json" in html


def test_neither_ray_nor_torch_is_needed(tmp_path, week):
    week(str(tmp_path))
    program = (
        "import sys; from cilf import cli; assert cli.main(['report', sys.argv[1]]) == 0; "
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)


def test_slices(tmp_path, write_run, report, refused):
    camera = pa.field('the "camera"', pa.string())
    rows = [photograph(n, [face(20.0)], **{camera.name: "old"}) for n in range(30)]
    rows += [photograph(n, [face(60.0, accepted=False)], **{camera.name: None}) for n in range(30, 50)]
    rows += [photograph(n, status="missing", **{camera.name: "old"}) for n in range(50, 60)]
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", rows, camera)
    write_run(str(tmp_path), "20261102T010000Z-bbbbbb", [photograph(n, [face(40.0)]) for n in range(60, 70)])
    shown, _ = report(str(tmp_path), "--slice", camera.name)
    assert [row[:7] for row in shown.tables[f"By {camera.name}"][1:]] == [
        ["old", "40", "75.0%", "25.0%", "30", "20.0", "100.0%"],
        ["–", "30", "100.0%", "0.0%", "30", "53.3", "33.3%"],  # includes rows from files without the column
    ]
    assert 'columns of your own: the "camera"' in refused(str(tmp_path), "--slice", "lens")


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=https://example.org/x onerror='alert(1)'>",
    "</style></title></svg>]]>--><h1>",
    "{{ 7 * 7 }} {% raw %} &amp; &#60;",
    "🧑🏽‍🦳" * 50,
    "\u202egnp.exe\u2066\x07\x1b[31m\n\r\t",
    "javascript:alert(1)",
    "=cmd|' /C calc'!A0",
    "x" * 10_000,
)


def test_hostile_texts_are_escaped_and_cut(tmp_path, write_run, report):
    shelf = pa.field("shelf", pa.string())
    rows = []
    for number, text in enumerate(HOSTILE):
        rows.append(photograph(2 * number, status="unreadable", reason=text, uri=text, shelf=text))
        rows.append(photograph(2 * number + 1, [face(30.0, detection=0.1)], uri=text, shelf=text))
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", rows, shelf, error="".join(HOSTILE))
    shown, _ = report(str(tmp_path), "--slice", "shelf")
    html = (tmp_path / "report.html").read_text()
    assert shown.tags.count("script") == shown.tags.count("style") == 1
    assert not {"img", "a", "link", "iframe", "base"} & set(shown.tags)
    assert "{{ 7 * 7 }} {% raw %}" in html
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", html)
    assert "x" * 200 not in html
    assert len(shown.tables["Faces most worth a look"]) == 1 + len(HOSTILE)
    assert {cut(text) for text in HOSTILE} <= {row[1] for row in shown.tables["Faces most worth a look"][1:]}
    assert len(html) < 120_000


@pytest.mark.parametrize("made", [None, "labels", "labels/model=abc"])
def test_an_empty_output_is_refused(tmp_path, refused, made):
    if made:
        (tmp_path / made).mkdir(parents=True)
    assert f"there are no labels under {tmp_path}" in refused(str(tmp_path))
    assert not (tmp_path / "report.html").exists()


def test_parquet_that_is_no_labels_is_refused(tmp_path, refused):
    (tmp_path / "labels" / "model=abc").mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), tmp_path / "labels" / "model=abc" / "a.parquet")
    assert "have no column uri, etag" in refused(str(tmp_path))


def test_labels_without_rows_are_refused(tmp_path, write_run, refused):
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", [])
    assert "hold no rows" in refused(str(tmp_path))


def test_one_of_each_is_no_plural(tmp_path, write_run, report):
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", [photograph(1, [face(30.0)])])
    said = report(str(tmp_path))[1]
    assert said.startswith("1 object, 1 with ages")
    assert "1 face to review" in said


def test_a_torn_file_is_named(tmp_path, write_run, capsys):
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", [photograph(1, [face(30.0)])])
    (tmp_path / "labels" / "model=0123456789ab" / "torn.parquet").write_bytes(b"PAR1 and no more")
    assert cli.main(["report", str(tmp_path)]) == cli.FAILED
    said = capsys.readouterr().err
    assert "torn.parquet" in said
    assert "could not be read" in said


def test_without_one_age(tmp_path, write_run, report):
    write_run(str(tmp_path), "20261101T010000Z-aaaaaa", [photograph(n) for n in range(5)])
    shown, said = report(str(tmp_path))
    assert "there are no ages" in said
    assert "no face to review" in said
    assert "There is no face to review." in (tmp_path / "report.html").read_text()
    assert shown.tables["By status"][1] == ["no_face", "5", "100.0%"]


def test_folders_with_names_like_patterns(tmp_path, write_run, report):
    output = str(tmp_path / "run=[1]" / "it's {a} *")
    write_run(output, "20261101T010000Z-aaaaaa", [photograph(n, [face(30.0)]) for n in range(5)])
    assert report(output)[0].tables["By status"][1] == ["ok", "5", "100.0%"]


def test_on_s3(week, bucket, capsys):
    output = bucket({})
    week(output)
    assert cli.main(["report", output]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "3,200 objects" in said
    assert f"report page: {output}/report.html" in said
