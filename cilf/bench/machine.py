"""Description of the machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from cilf.cores import cores
from cilf.provenance import versions

_BUSY = 0.25


@dataclass(frozen=True)
class Machine:
    """This machine."""

    cores: int
    """Cores that this process may use."""
    cpu: str
    gpus: list[str]
    memory_gb: float
    """Memory in GB (10⁹ bytes)."""
    system: str
    load: float
    """Load average over the last minute."""
    versions: dict[str, str]

    @property
    def busy(self) -> bool:
        """True if other processes run on this machine, which makes the figures too low."""
        return self.load > _BUSY * self.cores


def this_machine() -> Machine:
    """Describe this machine."""
    import torch

    models = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: 0 kB")
    return Machine(
        cores=cores(),
        cpu=models[0].partition(":")[2].strip() if models else platform.machine(),
        gpus=[torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        memory_gb=round(int(memory.split()[1]) * 1024 / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
        versions=versions(),
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
