"""One `cilf label` in a process of its own, whose processes can be found, and the rows that it has written."""

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
    """One `cilf label`, of which any process can be found."""

    process: subprocess.Popen[str]
    output: Path

    def below(self) -> dict[int, str]:
        """Command line by number of every process that this run has started."""
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
        """Those whose command line has `part` in it."""
        return sorted(pid for pid, name in self.below().items() if part in name)

    def own_bytes(self) -> dict[str, int]:
        """Memory that no other process shares, by the first word of its command line, at most of one: this moment."""
        most: dict[str, int] = {}
        for pid, name in {**self.below(), self.process.pid: DRIVER}.items():
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                own = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
                kind = name.split()[0] if name.strip() else ""  # it has just ended
                most[kind] = max(most.get(kind, 0), own)
        return most

    def files(self) -> list[Path]:
        """The label files that a reader would see."""
        return sorted(self.output.glob("labels/*/*.parquet"))

    def wait_for_files(self, count: int = 1) -> bool:
        """Whether the run came to have so many files before it ended."""
        while self.process.poll() is None and len(self.files()) < count:
            time.sleep(0.02)
        return self.process.poll() is None

    def end(self, seconds: float = 240) -> str:
        """Wait for the exit; what it has printed."""
        return self.process.communicate(timeout=seconds)[0]


def statuses(output: Path) -> dict[str, list[str]]:
    """Status of each row by the object's name; every file is read whole."""
    found: dict[str, list[str]] = {}
    for file in output.glob("labels/*/*.parquet"):
        with suppress(FileNotFoundError):  # replaced or compacted this moment
            for row in pq.ParquetFile(file).read(["uri", "status"]).to_pylist():
                found.setdefault(row["uri"].rpartition("/")[2], []).append(row["status"])
    return found
