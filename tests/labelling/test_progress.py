import time

from cilf.labelling import progress
from cilf.labelling.progress import Progress, clock


def committed(status: str, objects: int) -> dict[str, object]:
    seconds = {"fetch_s": 0.1, "decode_s": 0.2, "model_s": None}
    return {"status": status, "objects": objects, "bytes": 5, **seconds, "batch_size": 64}


def test_the_line_says_what_is_done_and_what_failed():
    shown = Progress()
    shown.total = 2000
    assert shown.line() == "0 of 2,000 objects"
    shown.started -= 10
    shown.add([committed("ok", 1490), committed("unreadable", 10)])
    line = shown.line()
    assert line.startswith("1,500 of 2,000 objects, ")
    assert line.endswith(" left, 10 unreadable")
    assert "149." in line or "150.0 images/s" in line


def test_there_is_a_pace_from_the_second_block_on(monkeypatch):
    shown = Progress()
    monkeypatch.setattr(progress.time, "monotonic", lambda: shown.started + 20)
    shown.add([committed("ok", 40), committed("no_face", 10)])
    assert shown.pace is None
    monkeypatch.setattr(progress.time, "monotonic", lambda: shown.started + 30)
    shown.add([committed("ok", 50), committed("no_face", 20)])
    assert shown.pace == 7


def test_a_line_now_and_then_without_a_terminal(monkeypatch, capfd):
    monkeypatch.setattr(progress, "_EVERY_S", 0.05)
    with Progress() as shown:
        shown.total = 3
        time.sleep(0.3)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert lines[0] == "0 of 3 objects"


def testclock():
    assert clock(3725.4) == "1:02:05"
