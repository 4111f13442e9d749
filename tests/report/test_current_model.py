"""Readers see one model before, during and after an upgrade, with the queries from docs/guides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from made_up_labels import MODEL, face, photograph

from cilf import cli
from cilf.labelling.current import Candidate, Prefix, name_before, read_current, take_over
from cilf.storage import locate

ROOT = Path(__file__).parents[2]
LABELS, UPGRADE = "docs/guides/read-labels.md", "docs/guides/upgrade-the-model.md"
NEW = "123456789012"
"""A fingerprint that readers may parse as a number."""
FIRST, SECOND, THIRD = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2, 3))
PHOTOS = range(40)


def blocks(language: str, page: str) -> list[str]:
    """Code of a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def rows_of(numbers: range, age: float = 30.0) -> list[dict[str, Any]]:
    return [photograph(n, [face(age)]) if n % 4 else photograph(n) for n in numbers]


def current(output: Path) -> dict:
    return json.loads((output / "current.json").read_text())


@pytest.fixture
def run(tmp_path, write_run) -> Callable[..., str | None]:
    """End a run that labels these photographs in the folder /photographs, as `cilf label` does; return its message."""
    output = locate(str(tmp_path))

    def label(name: str, numbers: range, model: str, *given: str, ended: bool = True) -> str | None:
        candidate = Candidate(model, "made-up", name)
        name_before(output, candidate)
        age = 50.0 if model == NEW else 30.0
        write_run(str(tmp_path), name, rows_of(numbers, age), model=model, error=None if ended else "interrupted")
        return take_over(output, candidate, [Prefix(url) for url in given]) if ended else None

    return label


def half_done(run) -> None:
    run(SECOND, PHOTOS[:20], NEW, ended=False)


def done_in_two(run) -> None:
    run(SECOND, PHOTOS[:20], NEW, ended=False)
    run(THIRD, PHOTOS[20:], NEW)


def trial_elsewhere(run) -> None:
    said = run(SECOND, range(100, 110), NEW, "/trial")
    assert "30 of its" not in said
    assert f"{NEW} has no rows for 40 of its photographs" in said


def one_gone(run) -> None:
    assert "is now the current one" in run(SECOND, PHOTOS[:39], NEW, "/photographs")


def one_left_out(run) -> None:
    assert f"{NEW} has no rows for 1 of its photographs" in run(SECOND, PHOTOS[:39], NEW, "/photographs/2026")


@pytest.mark.parametrize(
    ("upgrade", "model", "photographs"),
    [
        (lambda run: None, MODEL, 40),
        (half_done, MODEL, 40),
        (trial_elsewhere, MODEL, 40),
        (one_left_out, MODEL, 40),
        (done_in_two, NEW, 40),
        (one_gone, NEW, 39),
    ],
)
@pytest.mark.parametrize("first", [MODEL, "98765432109"])
def test_readers_of_the_guide_count_every_photograph_once(
    tmp_path, run, monkeypatch, capsys, upgrade, model, photographs, first
):
    run(FIRST, PHOTOS, first)
    upgrade(run)
    model = first if model == MODEL else model
    assert current(tmp_path)["model"] == model
    (tmp_path / "OUTPUT").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)

    statuses, faces = blocks("sql", LABELS)[0].split(";")[:2]
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        counts, ages = connection.sql(statuses).fetchall(), connection.sql(faces).fetchall()
    ok = sum(1 for n in PHOTOS[:photographs] if n % 4)
    assert {status: n for status, _, n in counts} == {"ok": ok, "no_face": photographs - ok}
    assert {row[1] for row in ages} == {30.0 if model == first else 50.0}
    assert len(ages) == len({row[0] for row in ages}) == ok

    named: dict[str, Any] = {}
    exec(blocks("python", LABELS)[0].partition("found = spark")[0], named)
    assert named["labels"].uri.is_unique
    assert len(named["labels"]) == photographs
    assert sorted(named["ages"]) == sorted(row[1] for row in ages)

    exec(blocks("python", "README.md")[0], {})
    printed = capsys.readouterr().out.splitlines()[1:]
    assert len(printed) == ok

    assert cli.main(["report", "."]) == 0
    assert f"{photographs} objects, {ok} with ages" in capsys.readouterr().out
    html = (tmp_path / "report.html").read_text()
    assert f"<dd>{photographs}</dd>" in html
    assert ("not counted" in html) == (upgrade.__name__ != "<lambda>")


def test_two_models_are_compared_as_the_guide_says(tmp_path, run, monkeypatch):
    run(FIRST, PHOTOS, MODEL)
    run(SECOND, PHOTOS[:20], NEW)
    (tmp_path / "OUTPUT").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    query = blocks("sql", UPGRADE)[0].replace("model=OLD", f"model={MODEL}").replace("model=NEW", f"model={NEW}")
    found = duckdb.sql(query).fetchall()
    assert len(found) == 20
    assert {row[1:] for row in found} == {(30.0, 50.0), (None, None)}


def test_tables_are_filtered_as_the_guide_says(tmp_path, run, monkeypatch):
    from pyiceberg.utils.config import Config

    run(FIRST, PHOTOS, MODEL)
    run(SECOND, PHOTOS, NEW)
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__DEFAULT__WAREHOUSE", f"file://{tmp_path}/warehouse")
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # read once, when it is imported
    assert cli.main(["publish", str(tmp_path), "photos.ages"]) == 0
    assert cli.main(["publish", str(tmp_path), str(tmp_path / "ages"), "--format", "delta"]) == 0
    code = blocks("python", UPGRADE)[0].replace("s3://my-bucket/tables/ages", str(tmp_path / "ages"))
    *imports, iceberg, delta = code.strip().splitlines()
    named: dict[str, Any] = {"model": current(tmp_path)["model"]}
    exec("\n".join(imports), named)
    for expression in (iceberg, delta):
        found = eval(expression, named)
        assert len(found) == 40
        assert set(found.model) == {NEW}


def test_the_first_model_is_named_before_its_first_row(tmp_path):
    name_before(locate(str(tmp_path)), Candidate(MODEL, "made-up", FIRST))
    assert current(tmp_path).items() >= {"model": MODEL, "name": "made-up", "run": FIRST}.items()
    # Its run died at once, and a run of another model follows.
    name_before(locate(str(tmp_path)), Candidate(NEW, "made-up", SECOND))
    assert current(tmp_path)["model"] == NEW


@pytest.mark.parametrize("text", ['{"model": "0123456789ab"}', "{torn", "[]", '{"model": ""}'])
def test_what_was_written_by_hand_stays(tmp_path, run, capsys, text):
    run(FIRST, PHOTOS, MODEL)
    (tmp_path / "current.json").write_text(text)
    assert "was written by hand and stays" in run(SECOND, PHOTOS, NEW)
    assert cli.main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "current.json").read_text() == text
    warned = "names no model that has labels" in (tmp_path / "report.html").read_text()
    assert warned == (MODEL not in text)


def test_an_output_of_before_is_named_by_its_newest_whole_run(tmp_path, write_run, capsys):
    write_run(str(tmp_path), FIRST, rows_of(PHOTOS))
    write_run(str(tmp_path), SECOND, rows_of(PHOTOS[:5]), model=NEW, options={"limit": 5})
    write_run(str(tmp_path), THIRD, rows_of(PHOTOS[5:9]), model=NEW, error="interrupted")
    assert cli.main(["report", str(tmp_path)]) == 0
    assert "40 objects" in capsys.readouterr().out
    assert current(tmp_path).items() >= {"model": MODEL, "run": FIRST}.items()
    (tmp_path / "current.json").unlink()
    name_before(locate(str(tmp_path)), Candidate(NEW, "made-up", THIRD))
    assert current(tmp_path)["model"] == MODEL


def test_globs_say_what_would_have_been_given(tmp_path, run):
    output = locate(str(tmp_path))
    run(FIRST, PHOTOS, MODEL)
    run(SECOND, PHOTOS[:38], NEW)
    new = Candidate(NEW, "made-up", SECOND)
    assert "2 of its photographs" in take_over(output, new, [Prefix("/photographs", ["*.png", "38.jp"])])
    assert "1 of its photographs" in take_over(output, new, [Prefix("/photographs", ["*.png", "38.jp?"])])
    assert "is now the current one" in take_over(
        output, new, [Prefix("/other"), Prefix("/photographs/", ["*8.jpg", "39*"])]
    )
    assert read_current(output).model == NEW


def test_on_s3(write_run, bucket):
    output = bucket({})
    place = locate(output)
    for name, model, numbers in ((FIRST, MODEL, PHOTOS), (SECOND, NEW, PHOTOS[:30]), (THIRD, NEW, PHOTOS[30:])):
        name_before(place, Candidate(model, "made-up", name))
        write_run(output, name, rows_of(numbers), model=model)
        take_over(place, Candidate(model, "made-up", name), [])
        assert read_current(place).run == (THIRD if name == THIRD else FIRST)
