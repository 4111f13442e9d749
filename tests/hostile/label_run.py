"""A run of `cilf label` in a process of its own, whose child processes can be found, and the rows it has written."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

DRIVER = "driver"


@dataclass
class Run:
    """A run of `cilf label`, any of whose processes can be found."""

    process: subprocess.Popen[str]
    output: Path

    def below(self) -> dict[int, str]:
        """Command lines, by process id, of all processes that this run has started."""
        parents, names = {}, {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):  # it has ended
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")

        def ours(pid: int) -> bool:
            while pid in parents and pid != self.process.pid:
                pid = parents[pid]
            return pid == self.process.pid

        return {pid: name for pid, name in names.items() if pid != self.process.pid and ours(pid)}

    def find(self, part: str) -> list[int]:
        """Ids of the processes whose command line contains `part`."""
        return sorted(pid for pid, name in self.below().items() if part in name)

    def own_bytes(self) -> dict[str, int]:
        """Current private memory, bytes, by the first word of the command line: the largest of each kind of process."""
        most: dict[str, int] = {}
        for pid, name in {**self.below(), self.process.pid: DRIVER}.items():
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                own = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
                kind = name.split()[0] if name.strip() else ""  # it has just ended
                most[kind] = max(most.get(kind, 0), own)
        return most

    def files(self) -> list[Path]:
        """The label files that readers see."""
        return sorted(self.output.glob("labels/*/*.parquet"))

    def wait_for_files(self, count: int = 1) -> bool:
        """Wait until the run has so many files; returns False if it has ended."""
        while self.process.poll() is None and len(self.files()) < count:
            time.sleep(0.02)
        return self.process.poll() is None

    def end(self, seconds: float = 240) -> str:
        """Wait for the exit, and return the output."""
        return self.process.communicate(timeout=seconds)[0]


def statuses(output: Path) -> dict[str, list[str]]:
    """Status of each row by the name of the object; every file is read completely."""
    found: dict[str, list[str]] = {}
    for file in output.glob("labels/*/*.parquet"):
        with suppress(FileNotFoundError):  # just replaced or compacted
            for row in pq.ParquetFile(file).read(["uri", "status"]).to_pylist():
                found.setdefault(row["uri"].rpartition("/")[2], []).append(row["status"])
    return found
