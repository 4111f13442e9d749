"""A cluster as an administrator starts one, on this machine: `ray start` for each node, `ray job submit` for each job.

Every node has its own raylet, object store and CPUs. Its processes have a name in their environment by which they are
found, including those that Ray has given other parents. Losing a node means killing them all at once.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
_MARK = "CILF_TEST_NODE"
_STORE = 200_000_000  # bytes per object store


@dataclass(frozen=True)
class Place:
    """The environment in which a node runs."""

    address: str = "127.0.0.1"
    inside: Sequence[str] = ()
    """Prefix of a command that should run there, such as `ip netns exec NAME`."""


HERE = Place()


@dataclass
class Node:
    """One `ray start --block` and all processes that it has started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def processes(self) -> dict[int, str]:
        """Command lines by process id."""
        found, mark = {}, f"{_MARK}={self.name}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if mark in (folder / "environ").read_bytes() + b"\0":
                    found[int(folder.name)] = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
        return found

    def runs(self, part: str) -> bool:
        """Whether a process of the node has `part` in its command line."""
        return any(part in line for line in self.processes().values())

    def kill(self) -> None:
        """Kill all processes of the node, as a power failure would: none of them can shut down cleanly."""
        while found := self.processes():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.05)
        self.process.wait()


@dataclass
class Job:
    """One `ray job submit`, which follows its job to the end."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, there: Callable[[], object], seconds: float = 150) -> None:
        """Wait until a condition holds while the job runs."""
        deadline = time.monotonic() + seconds
        while not there():
            assert self.process.poll() is None, f"the job ended too early:\n{self.said}"
            assert time.monotonic() < deadline, f"timed out:\n{self.said}"
            time.sleep(0.05)

    def end(self, seconds: float = 300) -> int:
        """Wait for the job to end, and return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job still runs after {seconds} s:\n{self.said}") from None


class Nodes:
    """A head and the nodes that join it."""

    def __init__(self) -> None:
        # Not below a test's own folder: the paths of Ray's sockets have to be shorter than 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="cilf-nodes-"))
        self._id = secrets.token_hex(4)
        self._port, self._dashboard = _free_port(), _free_port()
        # A head would use the token that an earlier Ray has left in this home, and nodes that join would not.
        self._environment = _environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Ray overwrites the environment of its workers with their titles, unless this variable forbids it.
        self._environment |= {"SPT_NOENV": "1"}
        self._place = HERE
        self._jobs: list[Job] = []
        self.started: list[Node] = []

    def head(self, cpus: int, place: Place = HERE) -> Node:
        """Start the head, with the dashboard that accepts jobs."""
        self._place = place
        ports = ["--port", str(self._port), "--dashboard-port", str(self._dashboard), "--dashboard-host", place.address]
        ports += ["--ray-client-server-port", str(_free_port())]
        return self._start(["--head", *ports, "--temp-dir", str(self.folder / "ray")], cpus, place)

    def join(self, cpus: int, place: Place = HERE) -> Node:
        """Start another node."""
        return self._start(["--address", f"{self._place.address}:{self._port}"], cpus, place)

    def submit(self, script: str, *arguments: str) -> Job:
        """Run `ray job submit --working-dir . -- python jobs/SCRIPT …`, as in docs/guides/label.md, by the head."""
        log = self.folder / f"job-{len(self._jobs)}.log"
        address = f"http://{self._place.address}:{self._dashboard}"
        command = [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--", "python", script, *arguments]
        process = _started([*self._place.inside, *command], log, self._environment)
        self._jobs.append(Job(process, log))
        return self._jobs[-1]

    def end(self) -> None:
        """End all nodes and jobs, whatever their state."""
        for node in self.started:
            node.kill()
        for job in self._jobs:
            job.process.kill()
            job.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, options: list[str], cpus: int, place: Place) -> Node:
        number = len(self.started)
        name, log = f"{self._id}-{number}", self.folder / f"node-{number}.log"
        options = [*options, "--num-cpus", str(cpus), "--node-ip-address", place.address]
        # By default, these ports have fixed numbers, which two nodes on one machine would both use.
        for port in ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port"):
            options += [f"--{port}", "0"]
        command = [*place.inside, RAY, "start", "--block", "--object-store-memory", str(_STORE), *options]
        node = Node(name, _started(command, log, self._environment | {_MARK: name}), log)
        self.started.append(node)
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert node.process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        return node


def _started(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def _environment() -> dict[str, str]:
    """The environment of this process, with its Python as `python` and without the variables of another Ray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
