"""A private Ray on this machine: closed to other users, with its files wherever there is room for them."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cilf.cores import cores
from cilf.errors import JobError
from cilf.ray_failures import is_late

_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of a socket below RAY_TMPDIR. Its last number is the largest process id."""

_TOKEN = secrets.token_hex(32)


def cpus() -> int:
    """Number of CPUs of a local Ray. At least two are claimed, even on one core, which is enough to work."""
    return max(2, cores())


@contextmanager
def local_ray(**settings: Any) -> Iterator[None]:
    """Ray with the CPUs of this machine, for as long as the context lasts; nothing of it remains afterwards.

    It listens on the loopback interface only, requires a token that nobody else knows, and keeps its files in a folder
    that only this user can read.

    Args:
        **settings: further arguments of `ray.init`.

    Raises:
        JobError: there is no folder for its files.
        Exception: whatever Ray raises if it does not start.
    """
    import ray

    with _folder() as folder:
        try:
            _start(folder, settings)
            yield
        finally:
            ray.shutdown()


def _start(folder: str, settings: dict[str, Any]) -> None:
    import ray

    # Ray gives its processes 30 s to start, which no setting can raise. On a busy machine that is not always enough.
    for last in (False, False, True):
        try:
            with _environment(folder), _loopback(), _no_dashboard() as dashboard, _batch_scheduling():
                ray.init("local", num_cpus=cpus(), **dashboard, **settings)
            return
        except Exception as error:
            error.add_note(_logs(folder))
            if last or not is_late(error):
                raise


def _logs(folder: str) -> str:
    """The last log lines of Ray's servers, which may name a cause that Ray's exception leaves out."""
    logs = Path(folder) / "ray" / "session_latest" / "logs"
    files = [logs / f"{server}.{kind}" for server in ("gcs_server", "raylet") for kind in ("err", "out")]
    return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.is_file())


@contextmanager
def _folder() -> Iterator[str]:
    """A new private folder for Ray's files, in the first place where Ray's sockets work; it is deleted in the end."""
    refusals = []
    for place in _places():
        try:
            new = tempfile.TemporaryDirectory(prefix="cilf-", dir=place, ignore_cleanup_errors=True)
        except OSError as error:
            refusals.append(f"{place}: {error.strerror}")
            continue
        with new as folder:
            if refusal := _refusal(folder):
                refusals.append(f"{place}: {refusal}")
                continue
            yield folder
            return
    raise JobError(
        f"no folder can hold Ray's files ({'; '.join(refusals)}): set RAY_TMPDIR to a folder that can be written "
        "to, with a path of at most 25 characters"
    )


def _places() -> list[str]:
    if wished := os.environ.get("RAY_TMPDIR"):
        return [str(Path(wished).absolute())]
    with suppress(FileNotFoundError):
        return list(dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]))
    return ["/dev/shm"]


def _refusal(folder: str) -> str | None:
    """The reason why a folder cannot hold a socket: a path that is too long, or a file system without sockets. None if
    it can."""
    path = Path(folder) / ("s" * len(_LONGEST_SOCKET))
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.bind(str(path))
        except OSError as error:
            return error.strerror or str(error)
    path.unlink()
    return None


def _has_token() -> bool:
    """True if Ray finds a token. A process keeps the first one it finds, even for clusters that it joins later."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    try:
        return bool(Path(os.path.expanduser("~/.ray/auth_token")).read_bytes().strip())  # noqa: PTH111
    except OSError:
        return False


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """The environment in which Ray's processes are started; afterwards this process's own one is restored."""
    ours = {
        "RAY_TMPDIR": folder,
        # If there are more workers than cores, Ray ends those that have been idle for a second, and starts others a
        # moment later: with small blocks on two cores that took half of the time.
        "RAY_idle_worker_killing_time_threshold_ms": "600000",
        # Each process determines the machine's address by itself; see _loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Training workers would resolve this machine's name, from a name server if need be.
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }
    if not _has_token():
        # Ray would write one into the home directory, which may be missing or read-only.
        ours["RAY_AUTH_TOKEN"] = _TOKEN
    before = {name: os.environ.get(name) for name in (*ours, "RAY_AUTH_MODE")}  # Ray sets that one.
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _loopback() -> Iterator[None]:
    """Make the Ray of this process use 127.0.0.1 as the machine's address, as it does on Windows and macOS.

    On Linux it would find an interface by connecting to a public address, and then listen on all interfaces.
    """
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _no_dashboard() -> Iterator[dict[str, Any]]:
    """Settings with which Ray starts no dashboard.

    Even with `include_dashboard` off, Ray starts one for usage statistics alone, which asks the metadata services of
    three clouds where it runs, even if statistics are off. It does without one if the port is taken.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield {"include_dashboard": False, "dashboard_port": taken.getsockname()[1]}


@contextmanager
def _batch_scheduling() -> Iterator[None]:
    """Start processes that wait their turn when they wake up, instead of taking a core from one that computes.

    Each process of Ray wakes up a hundred times a second to check for signals. On two cores these idle processes cost
    an eighth of the model's speed, and a third less when they wait.
    """
    try:
        policy = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # A sandbox may forbid it.
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, policy, os.sched_param(0))
