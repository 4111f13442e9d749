"""The number of CPU cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cores() -> int:
    """Number of cores that this process may use at the same time: at least 1.

    The smaller of its CPU affinity and the CPU quota of its control group, which `docker run --cpus`, Kubernetes and
    systemd set. A fraction of a core counts as one core.
    """
    quota = min(_quotas(), default=math.inf)
    allowed = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(allowed, quota)))


def _quotas() -> Iterator[float]:
    """CPU quotas of this process's control group and of its parents, in cores."""
    for folder in _folders():
        with suppress(OSError, ValueError):  # Not this version of control groups, or no quota.
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield int(quota) / int(period)


def _folders() -> Iterator[Path]:
    """Folders of this process's control group and of its parents.

    In a container the kernel may report the path on the host, of which only the root exists inside the container.
    """
    with suppress(OSError):
        for line in _MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                root = _CGROUPS / controllers
                for below in (Path(path), *Path(path).parents):
                    yield root / below.relative_to("/")
