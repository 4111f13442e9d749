"""How many CPU cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may run on at the same time: at least 1.

    The smaller of its affinity and of the CPU quota of its control group, as `docker run --cpus`, Kubernetes and
    systemd set it. Part of a core counts as one.
    """
    quota = min(_quotas(), default=math.inf)
    allowed = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(allowed, quota)))


def _quotas() -> Iterator[float]:
    """The quotas of this process's control group and of those around it, in cores."""
    for folder in _folders():
        with suppress(OSError, ValueError):  # Not this version of control groups, or no quota.
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield int(quota) / int(period)


def _folders() -> Iterator[Path]:
    """The folders of this process's control group and of those around it.

    In a container the path that the kernel tells may be the host's, of which nothing but the root is there.
    """
    with suppress(OSError):
        for line in _MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                root = _CGROUPS / controllers
                for below in (Path(path), *Path(path).parents):
                    yield root / below.relative_to("/")
