"""The night to which a start belongs, and the records of old nights and runs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cilf.errors import UsageError
from cilf.labelling.lease import Lease
from cilf.nightly.config import Config
from cilf.nightly.record import Record, Step, records, tonight
from cilf.nightly.retention import remove_old
from cilf.storage import Location, locate

CONFIG = Config(inputs=("/photos",), output="/ages")
FIRST = "20261101T200000Z"


@pytest.fixture
def output(tmp_path) -> Location:
    return locate(str(tmp_path))


def saved(output: Location, moment: str = FIRST, **given: object) -> Record:
    """The record of a night that was started at a given time."""
    record = tonight(output, CONFIG, moment).model_copy(update=given)
    record.save(output)
    return record


def test_a_record_comes_back_as_it_was(output):
    step = Step(state="done", seconds=1.5, found={"objects": 3, "merged": ["model=a: 3 files before, 1 now"]})
    record = saved(output, steps={"list": step}, rows={"ok": 3}, drift=False, verdict="No drift")
    assert tonight(output, CONFIG, FIRST) == record


def test_a_night_that_is_yet_to_come_is_told(output):
    saved(output, "20361101T200000Z", ended="20361101T210000Z", drift=False)
    with pytest.raises(UsageError, match=r"2036-11-01\.json is the record of a night in the future"):
        tonight(output, CONFIG, FIRST)


@pytest.mark.parametrize(
    ("ended", "again", "night"),
    [
        (False, "20261101T235959Z", "2026-11-01"),
        (False, "20261102T000001Z", "2026-11-01"),  # it continues after midnight
        (False, "20261102T155959Z", "2026-11-01"),
        (False, "20261102T160000Z", "2026-11-02"),  # 20 hours later it is given up
        (False, "20261102T195900Z", "2026-11-02"),
        (True, "20261101T235959Z", "2026-11-01"),
        (True, "20261102T000001Z", "2026-11-02"),
        (True, "20261031T235959Z", "2026-11-01"),  # by a clock that is behind
    ],
)
def test_which_night_it_is(output, ended, again, night):
    first = saved(output, ended="20261101T210000Z" if ended else None, drift=False if ended else None)
    found = tonight(output, CONFIG, again)
    assert found.night == night
    if night == first.night:
        assert found == first
    else:
        assert (found.started, found.steps, found.ended) == (again, {}, None)


def test_what_no_report_has_told_is_told_by_the_next(output):
    saved(output, "20261101T010000Z", drift=False, ended="20261101T020000Z")
    assert saved(output, "20261102T010000Z").since == "20261102T010000Z"
    assert saved(output, "20261103T010000Z").since == "20261102T010000Z"
    assert saved(output, "20261104T010000Z", drift=True).since == "20261102T010000Z"
    assert saved(output, "20261105T010000Z").since == "20261105T010000Z"


def test_another_config_begins_the_same_night_anew(output):
    first = saved(output, steps={"list": Step(state="done")}, ended="20261101T210000Z")
    other = CONFIG.model_copy(update={"keep_runs": 100})
    found = tonight(output, other, "20261101T220000Z")
    assert (found.night, found.started, found.steps, found.ended) == (first.night, first.started, {}, None)
    assert found.config["keep_runs"] == 100


def test_further_nights_of_a_date_have_numbers(output):
    moments = [f"20261101T{hour:02d}0000Z" for hour in range(12)]
    first = saved(output, moments[0])
    assert tonight(output, CONFIG, moments[1], again=True) == first, "an unfinished night continues"
    saved(output, moments[1], ended=moments[1], drift=False)
    for number, moment in enumerate(moments[2:], 2):
        further = tonight(output, CONFIG, moment, again=True)
        assert (further.night, further.started, further.since) == (f"2026-11-01-{number}", moment, moment)
        assert (further.steps, further.ended) == ({}, None)
        further.save(output)
        assert tonight(output, CONFIG, "20261101T230000Z") == further, "and is the newest"
        further.model_copy(update={"ended": moment, "drift": False}).save(output)
    assert tonight(output, CONFIG, "20261101T235959Z").ended is not None
    assert tonight(output, CONFIG, "20261102T000001Z", again=True).night == "2026-11-02"
    assert remove_old(output, keep=3) == 11 - 3
    assert {place.path.rpartition("/")[2] for place in records(output)} == {
        f"2026-11-01-{number}.json" for number in (9, 10, 11)
    }


@pytest.mark.parametrize("text", ["{torn", "[]", '{"night": 3}'])
def test_a_damaged_record_is_named(output, tmp_path, text):
    (tmp_path / "nights").mkdir()
    (tmp_path / "nights" / "notes.json").write_text("no night")
    assert tonight(output, CONFIG, FIRST).night == "2026-11-01"
    (tmp_path / "nights" / "2026-11-01.json").write_text(text)
    with pytest.raises(UsageError, match=r"nights/2026-11-01.json is not a record of a night .* remove it"):
        tonight(output, CONFIG, FIRST)


def fill(output: Location, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if output.scheme == "file":
            Path(f"{output.path}/{name}").parent.mkdir(parents=True, exist_ok=True)
        output.fs.pipe_file(f"{output.path}/{name}", data)


@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_what_is_kept(scheme, tmp_path, bucket):
    output = locate(str(tmp_path) if scheme == "file" else f"{bucket({})}/deep")
    runs = [f"202611{day:02d}T010000Z-aaaaaa" for day in range(1, 9)]
    fill(output, {f"runs/{run}.json": b"{}" for run in runs[1:]})  # the first was killed
    fill(output, {f"manifests/{run}{end}/00000.parquet": b"x" for run in runs[:7] for end in ("", ".2")})
    fill(output, {f"nights/2026-11-{day:02d}.json": b"{}" for day in range(1, 9)})
    others = ["runs/notes.json", "manifests/mine/a.parquet", "nights/notes.json", "labels/model=a/b.parquet"]
    fill(output, dict.fromkeys(others, b"x"))
    fill(output, {f"labels/model=a/{run}-b.parquet": b"x" for run in runs})

    with Lease(output / "leases" / "abc.json", runs[2], print):
        fill(output, {"leases/torn.json": b"{torn"})
        # Runs 1, 2, 4 and 5 are removed: three records, two manifests each. So are five nights.
        assert remove_old(output, keep=3) == 3 + 4 * 2 + 5
        output.fs.invalidate_cache()
        found = {name.partition(f"{output.path.lstrip('/')}/")[2] for name in output.fs.find(output.path)}
        expected = {f"runs/{run}.json" for run in [runs[2], *runs[5:]]}
        kept = [runs[2], *runs[5:7]]
        expected |= {f"manifests/{run}{end}/00000.parquet" for run in kept for end in ("", ".2")}
        expected |= {f"nights/2026-11-{day:02d}.json" for day in (6, 7, 8)}
        expected |= {*others, *(f"labels/model=a/{run}-b.parquet" for run in runs)}
        assert {name for name in found if not name.startswith("leases/")} == expected
        assert remove_old(output, keep=3) == 0
    if scheme == "file":
        assert len(list((tmp_path / "manifests").iterdir())) == 2 * 3 + 1, "no empty folders"
