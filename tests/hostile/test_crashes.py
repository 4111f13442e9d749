"""Any process is killed, at any moment: after the same command again, every object has exactly one row.

The short form kills each kind of process once. The long form, twenty seeded runs of it at random moments:
    pytest tests/hostile -m long
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from label_run import Run, statuses

from cilf.cli import INTERRUPTED

FETCH, MODEL, SINK = "poisonous_fetch", "StandIn", "write_labels"  # as Ray names the processes that run them
KINDS = (FETCH, MODEL, SINK, "raylet", "driver")
OBJECTS = 5_000  # about as many blocks as there are moments for a kill
ATTEMPTS = 4


def victims(run: Run, kind: str) -> list[int]:
    """Processes of a kind. The process of a task has the task's name only while it runs."""
    if kind == "driver":
        return [run.process.pid]
    return run.find("raylet/raylet" if kind == "raylet" else f"({kind})")


def kill(run: Run, kind: str, rng: random.Random, seconds: float = 20) -> bool:
    """Kill one process of a kind, as soon as there is one; returns whether there was one before the run ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and run.process.poll() is None:
        if found := victims(run, kind):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(found), signal.SIGKILL)
                return True
        time.sleep(0.005)
    return False


def watch(output, stop: threading.Event, seen: list[str]) -> None:
    """Read everything repeatedly, as a reader would during the run."""
    while not stop.wait(0.2):
        try:
            doubled = [name for name, found in statuses(output).items() if len(found) > 1]
            seen += [f"doubled: {name}" for name in doubled]
        except Exception as error:
            seen.append(f"torn: {error}")


def crash_and_go_on(start, corpus, tmp_path, kinds: list[str], rng: random.Random, delay: float) -> None:
    photos, output = corpus(OBJECTS), tmp_path / "out"
    stop, seen = threading.Event(), []
    watcher = threading.Thread(target=watch, args=(output, stop, seen))
    watcher.start()
    try:
        run = start(photos, output, slow_ms=200)
        assert run.wait_for_files() or run.process.returncode == 0, run.end()
        time.sleep(delay)
        killed = [kind for kind in kinds if kill(run, kind, rng)]
        report = run.end()
        done_before = sum(map(len, statuses(output).values()))
        if not {"raylet", "driver"}.intersection(killed):
            assert run.process.returncode == 0, report
        for _ in range(ATTEMPTS):
            again = start(photos, output)
            report = again.end()
            if again.process.returncode == 0:
                break
        assert again.process.returncode == 0, report
    finally:
        stop.set()
        watcher.join()
    assert not seen
    found = statuses(output)
    assert {name: value for name, value in found.items() if value != ["ok"]} == {}
    assert len(found) == OBJECTS
    assert killed, "nothing was there to be killed"
    assert done_before > 0


@pytest.mark.parametrize("kinds", [[FETCH, MODEL, SINK], ["raylet"], ["driver"]], ids="-".join)
def test_processes_are_killed(start, corpus, tmp_path, kinds):
    crash_and_go_on(start, corpus, tmp_path, kinds, random.Random(0), delay=0.5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_processes_are_killed_at_random_moments(start, corpus, tmp_path, seed):
    rng = random.Random(seed)
    kinds = rng.choices(KINDS, k=rng.randint(1, 3))
    crash_and_go_on(start, corpus, tmp_path, kinds, rng, delay=rng.uniform(0, 4))


def test_a_terminated_run_gives_back_what_it_has(start, corpus, tmp_path):
    run = start(corpus(2_000), tmp_path / "out", slow_ms=200)
    assert run.wait_for_files(), run.end()
    ray = run.below()
    run.process.terminate()
    report = run.end()
    assert run.process.returncode == INTERRUPTED, report
    assert "interrupted; run the same command again to resume" in report
    assert list((tmp_path / "out" / "leases").glob("*.json")) == []
    assert any("raylet/raylet" in command for command in ray.values())
    deadline = time.monotonic() + 20
    while left := [command for pid, command in ray.items() if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_objects_that_kill_are_found_and_cost_nobody_else_their_row(start, corpus, tmp_path):
    photos, output = corpus(300, "poison-fetch.jpg", "poison-model.jpg"), tmp_path / "out"
    run = start(photos, output)
    report = run.end()
    assert run.process.returncode == 0, report
    found = statuses(output)
    assert found.pop("poison-fetch.jpg") == found.pop("poison-model.jpg") == ["crashed"]
    assert set(map(tuple, found.values())) == {("ok",)}
    assert len(found) == 300
    assert "2 crashed" in report
    assert "were in processes that died" in report

    again = start(photos, output)
    assert "nothing new" in again.end()


@pytest.mark.long
def test_one_poison_among_2000_costs_less_than_three_clean_runs(start, corpus, tmp_path, capsys):
    photos = corpus(1_999)
    seconds = []
    for output, names in (("clean", ()), ("poisoned", ("poison-fetch.jpg",))):
        for name in names:
            (photos / name).write_bytes(b"x")
        begun = time.monotonic()
        run = start(photos, tmp_path / output)
        report = run.end()
        assert run.process.returncode == 0, report
        seconds.append(time.monotonic() - begun)
    found = statuses(tmp_path / "poisoned")
    assert found.pop("poison-fetch.jpg") == ["crashed"]
    assert list(found.values()) == [["ok"]] * 1_999
    with capsys.disabled():
        print(f"\nclean {seconds[0]:.1f} s, with one poison {seconds[1]:.1f} s: {seconds[1] / seconds[0]:.2f} x")
    assert seconds[1] < 3 * seconds[0]
