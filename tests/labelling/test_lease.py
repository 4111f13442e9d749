"""Two runs must never write the same labels; a dead run must not block the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cilf.claims import create, replace_if
from cilf.errors import JobError, UsageError
from cilf.labelling import lease
from cilf.labelling.lease import Lease, check_lease
from cilf.storage import locate, read, remove, write


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path, bucket):
    root = str(tmp_path) if request.param == "file" else bucket({})
    return locate(root) / "leases" / "abc.json"


def elsewhere(run: str, beats: int = 1) -> bytes:
    """A lease that a process on another machine holds."""
    return json.dumps({"run": run, "machine": "other", "host": "far", "pid": 1, "born": 1, "beats": beats}).encode()


def test_one_of_many_gets_it(place):
    won: list[bool] = []
    for attempt in (lambda: create(place, os.urandom(8)), lambda old=None: replace_if(place, read(place), b"new")):
        won.clear()
        threads = [threading.Thread(target=lambda attempt=attempt: won.append(attempt())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(True) >= 1
        if attempt.__defaults__ is None:
            assert won.count(True) == 1
    assert not replace_if(place, b"something else", b"x")
    assert read(place) == b"new"


def test_a_living_run_keeps_others_out(place, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with Lease(place, "first", print):
        check_lease(place, "first")
        before = read(place)
        with pytest.raises(UsageError, match=f"run first .process {os.getpid()} "), Lease(place, "second", print):
            pass
        with pytest.raises(JobError, match="holder: first"):
            check_lease(place, "second")
        time.sleep(0.5)
        assert read(place) != before, "the lease was never renewed"
    assert read(place) is None
    with Lease(place, "third", print):
        pass


def test_a_dead_process_of_this_machine_is_no_obstacle(place):
    held = "import sys, os; from cilf.labelling.lease import *; from cilf.storage import locate\n"
    held += "Lease(locate(sys.argv[1]), 'dead', print).__enter__(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", held, place.url], check=False).returncode == -9
    assert b"dead" in read(place)
    start = time.monotonic()
    with Lease(place, "next", print):
        check_lease(place, "next")
    assert time.monotonic() - start < lease.STALE_S / 2


def test_a_dead_process_that_nobody_has_waited_for_is_no_obstacle(place):
    held = "import sys, os; from cilf.labelling.lease import *; from cilf.storage import locate\n"
    held += "Lease(locate(sys.argv[1]), 'dead', print).__enter__(); os.kill(os.getpid(), 9)"
    with subprocess.Popen([sys.executable, "-c", held, place.url]) as child:
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.05)
        with Lease(place, "next", print):
            check_lease(place, "next")


def test_another_machine_is_watched_for_signs_of_life(place, monkeypatch):
    monkeypatch.setattr(lease, "STALE_S", 2.0)
    said: list[str] = []
    write(place, elsewhere("gone"))
    with Lease(place, "next", said.append):
        check_lease(place, "next")
    assert len(said) == 1
    assert "run gone (process 1 on far)" in said[0]

    write(place, elsewhere("alive"))
    threading.Timer(0.5, lambda: write(place, elsewhere("alive", beats=2))).start()
    with pytest.raises(UsageError, match="run alive"), Lease(place, "next", said.append):
        pass


def test_who_lost_the_lease_knows_and_leaves_it_alone(place, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    held = Lease(place, "slow", print)
    held.__enter__()
    write(place, elsewhere("thief"))
    time.sleep(0.3)
    with pytest.raises(JobError, match="no longer holds"):
        held.__exit__(None, None, None)
    assert read(place) == elsewhere("thief")
    remove(place)


def test_a_damaged_lease_is_watched_like_any_other(place, monkeypatch):
    monkeypatch.setattr(lease, "STALE_S", 1.0)
    write(place, b"{torn")
    with Lease(place, "next", print):
        check_lease(place, "next")
