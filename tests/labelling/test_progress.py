import time

import pytest

from cilf.config import LabelOptions
from cilf.labelling import progress
from cilf.labelling.progress import Progress, clock
from cilf.labelling.summary import Summary


def committed(status: str, objects: int) -> dict[str, object]:
    seconds = {"fetch_s": 0.1, "decode_s": 0.2, "model_s": None}
    return {"status": status, "objects": objects, "bytes": 5, **seconds, "batch_size": 64}


@pytest.fixture
def shown(monkeypatch) -> Progress:
    """A Progress whose clock is set by `at`, in seconds after its start."""
    made = Progress()
    made.total = 2000
    made.at = lambda seconds: monkeypatch.setattr(progress.time, "monotonic", lambda: made.started + seconds)
    return made


def test_the_line_says_what_goes_on_until_there_are_rows(shown):
    assert shown.line() == "0 of 2,000 objects, starting"
    shown.doing = "loading the model"
    assert shown.line() == "0 of 2,000 objects, loading the model"
    shown.total, shown.doing = 0, "listing"
    assert shown.line() == "listing"


def test_the_line_says_what_is_done_and_what_failed_without_the_start(shown):
    shown.at(20)
    shown.add([committed("ok", 500)])
    assert shown.line() == "500 of 2,000 objects"
    shown.at(30)
    shown.add([committed("ok", 990), committed("unreadable", 10)])
    assert shown.line() == "1,500 of 2,000 objects, 100.0 images/s, 0:00:05 left, 10 unreadable"


def test_a_pace_ends_where_nothing_comes_any_more(shown):
    shown.at(20)
    shown.add([committed("ok", 500)])
    shown.at(30)
    shown.add([committed("ok", 500)])
    shown.at(30 + progress._EVERY_S + 40)
    assert shown.pace == 10
    shown.total = 1000
    assert shown.pace == 50


def test_there_is_a_pace_from_the_second_block_on(shown):
    shown.at(20)
    shown.add([committed("ok", 40), committed("no_face", 10)])
    assert shown.pace is None
    shown.at(30)
    shown.add([committed("ok", 50), committed("no_face", 20)])
    assert shown.pace == 7


def test_blocks_that_come_together_tell_of_no_pace(shown):
    shown.at(20)
    shown.add([committed("ok", 500)])
    shown.at(20.01)
    shown.add([committed("ok", 500)])
    assert shown.pace is None
    assert shown.line() == "1,000 of 2,000 objects"


def summed(shown: Progress) -> Summary:
    summary = Summary("run", LabelOptions("in", "out"), "out/labels/model=0", "tiny")
    summary.take(shown)
    return summary


def test_the_closing_line_tells_start_and_steady_work_apart(shown):
    shown.at(14)
    shown.add([committed("ok", 128)])
    shown.at(20.4)
    shown.add([committed("ok", 500), committed("no_face", 12)])
    said = summed(shown).closing()
    assert said.startswith("labelled 640 objects in 20.4 s: 14 s to start, then 80.0 images/s in batches of 64 (")
    record = summed(shown).record()
    assert (record["steady_images_per_second"], record["images_per_second"]) == (80.0, 31.37)
    assert (record["seconds"], record["seconds_to_first_row"]) == (20.4, 14.0)


def test_one_object_is_one_object(shown):
    shown.at(14)
    shown.total = 1
    shown.add([committed("ok", 1)])
    assert summed(shown).closing().startswith("labelled 1 object in 14.0 s: 14 s to start (1 ok); ")
    assert summed(shown).record()["steady_images_per_second"] is None
    assert shown.line() == "1 of 1 object"


def test_warnings_are_said_and_recorded(shown, capfd):
    shown.warn("beware")
    assert capfd.readouterr().err == "warning: beware\n"
    assert summed(shown).record()["warnings"] == ["beware"]


def test_a_line_now_and_then_without_a_terminal(monkeypatch, capfd):
    monkeypatch.setattr(progress, "_EVERY_S", 0.05)
    with Progress() as shown:
        shown.total = 3
        time.sleep(0.3)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert lines[0] == "0 of 3 objects, starting"


def testclock():
    assert clock(3725.4) == "1:02:05"
