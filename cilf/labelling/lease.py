"""The run lease: only one run at a time writes the labels of one model into one OUTPUT.

A run holds OUTPUT/leases/<fingerprint>.json and renews it every few seconds. Another run that sees the file change
gives up; one that sees no change for long enough, or knows that the holder's process is dead, takes the lease over.
Every commit of labels checks the lease first, so that leftover tasks of a run that has lost it write nothing more; so
does everything that removes or merges label files.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from cilf.claims import create, replace_if
from cilf.errors import BusyError, JobError
from cilf.storage import Location, read, remove

RENEW_S = 5.0
"""Seconds between two renewals."""
STALE_S = 45.0
"""Seconds without a renewal after which a run counts as dead. They are counted by watching the file, because the clocks
of two machines differ."""


class Lease:
    """A lease, held while the context lasts.

    Args:
        place: the lease's file.
        run: run id.
        say: called with a line when this run waits for another run's lease.

    Raises:
        BusyError: on entry, when another run holds it and is alive.
    """

    def __init__(self, place: Location, run: str, say: Callable[[str], None]) -> None:
        self.place, self.run, self._say = place, run, say
        self._beats = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lease:
        while not create(self.place, self._text()):
            held = read(self.place)
            if held is None:
                continue  # released this moment
            _wait_for_death(self.place, held, self._say)
            if replace_if(self.place, held, self._text()):
                break
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            check_lease(self.place, self.run)
            remove(self.place)
        except Exception:
            if kind is None:
                raise

    def _text(self) -> bytes:
        self._beats += 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return json.dumps({"run": self.run, **_this_process(), "renewed": now, "beats": self._beats}).encode()

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                held = read(self.place)
                if held is None or _parsed(held).get("run") != self.run:
                    return  # taken over: the next commit fails, and says so
                replace_if(self.place, held, self._text())
            except Exception:
                continue  # a short outage of the store; a long one costs the lease


def check_lease(place: Location, run: str) -> None:
    """Make sure that a run still holds its lease.

    Raises:
        JobError: another run has taken it over.
    """
    found = holder(place)
    if found != run:
        raise JobError(
            f"run {run} no longer holds the lease {place.url} and may not write; holder: {found or 'nobody'}"
        )


def holder(place: Location) -> str | None:
    """The run that holds a lease; None if no run does."""
    held = read(place)
    return None if held is None else _parsed(held).get("run")


def _wait_for_death(place: Location, held: bytes, say: Callable[[str], None]) -> None:
    """Return once the holder is known to be dead; raise BusyError once it is known to be alive."""
    told = _parsed(held)
    who = f"run {told.get('run', '?')} (process {told.get('pid', '?')} on {told.get('host', '?')})"
    if told.get("machine") == _this_process()["machine"]:
        dead = not _alive(told)
    else:
        say(f"{who} holds the lease on this OUTPUT; watching for up to {STALE_S:.0f} s whether it still renews it")
        dead = _stands_still(place, held)
    if not dead:
        raise BusyError(f"{who} is writing this OUTPUT: wait for it, or choose another OUTPUT")


def _stands_still(place: Location, held: bytes) -> bool:
    deadline = time.monotonic() + STALE_S
    while time.monotonic() < deadline:
        time.sleep(1)
        if read(place) != held:
            return False
    return True


def _parsed(held: bytes) -> dict[str, Any]:
    try:
        found = json.loads(held)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _this_process() -> dict[str, Any]:
    """The identity of this process. A process id is unique only within one boot of one machine, in one container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    pids = Path("/proc/self/ns/pid").readlink()
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": f"{boot} {pids}", "pid": pid, "born": _born(pid)}


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks since boot, which identifies it because process ids are reused. None if
    there is no such process, or only a zombie that nobody has reaped, as in containers."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state[0] == "Z" else int(state[19])
    except (OSError, ValueError, IndexError):
        return None


def _alive(holder: dict[str, Any]) -> bool:
    return isinstance(holder.get("pid"), int) and _born(holder["pid"]) == holder.get("born")
