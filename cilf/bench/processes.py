"""Memory and CPU seconds of a process and all its descendants, by kind of process."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DRIVER, FETCHING, MODEL = "driver", "fetch and decode tasks", "model actor"
RAY = "Ray's own"
"""Ray's processes, including idle workers and those that read the manifest and write labels."""
SHARED = "object store"
ALL = "all"

_EVERY_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Resource usage of all processes of one kind together."""

    processes: int
    """Largest number at the same time."""
    peak_mb: float
    """Peak of private memory, MB (10⁶ bytes)."""
    cpu_seconds: float
    """User and system time, without the last half second of each process."""


@dataclass(frozen=True)
class _Sample:
    title: str
    own: int
    """Private memory in bytes, without pages of libraries and other files, which the kernel can drop at any time."""
    shared: int
    """Shared memory that the process has touched, in bytes."""
    cpu_s: float


class Sampler:
    """Samples the resource usage of a process tree; each call of `look` takes a sample."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._peaks: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._cpu: dict[int, float] = {}
        self._kinds: dict[int, str] = {}

    def look(self) -> None:
        """Take one sample."""
        samples = {pid: sample for pid in _tree(self._root) if (sample := _sample(pid))}
        own: Counter[str] = Counter()
        number: Counter[str] = Counter()
        for pid, sample in samples.items():
            kind = self._kinds[pid] = _kind(sample.title, pid == self._root, self._kinds.get(pid))
            for name in (kind, ALL):
                own[name] += sample.own
                number[name] += 1
            self._cpu[pid] = sample.cpu_s
        # No process touches more than the whole object store, and raylet, which fills it, touches nearly all of it.
        own[SHARED] = max((sample.shared for sample in samples.values()), default=0)
        own[ALL] += own[SHARED]
        self._peaks |= own
        self._most |= number

    def usage(self) -> dict[str, Usage]:
        """Usage by kind of process. The peak of ALL is below the sum of the other peaks, which occur at other times."""
        cpu: Counter[str] = Counter()
        for pid, seconds in self._cpu.items():
            for name in (self._kinds[pid], ALL):
                cpu[name] += seconds  # type: ignore[assignment]  # typed for whole numbers
        kinds = [kind for kind in (DRIVER, FETCHING, MODEL, RAY, SHARED, ALL) if self._peaks[kind]]
        return {kind: Usage(self._most[kind], self._peaks[kind] / 1e6, cpu[kind]) for kind in kinds}


@contextmanager
def sampled(root: int) -> Iterator[Sampler]:
    """Sample the process `root` and its descendants every half second while the context lasts."""
    sampler, stop = Sampler(root), threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_S):
            sampler.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield sampler
    finally:
        stop.set()
        thread.join()


def _kind(title: str, is_root: bool, before: str | None) -> str:
    """Kind of a process. Ray sets a worker's title to its current task; a worker keeps the kind of an earlier task,
    because it keeps the memory."""
    if is_root:
        return DRIVER
    if "AgeActor" in title or before == MODEL:
        return MODEL
    return FETCHING if "fetch_decode" in title or before == FETCHING else RAY


def _tree(root: int) -> list[int]:
    """Ids of a process and all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children[int(fields[1])].append(int(folder.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name: state, parent and so on; None if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _sample(pid: int) -> _Sample | None:
    fields = _stat(pid)
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    if fields is None:
        return None
    kb = {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Rss", "VmSwap"))}
    own, shared = kb.get("RssAnon", 0) + kb.get("VmSwap", 0), kb.get("RssShmem", 0)
    return _Sample(title, own * 1024, shared * 1024, (int(fields[11]) + int(fields[12])) / _TICKS)
