from __future__ import annotations

import math
import os

import pytest

from cilf import cores as module
from cilf.cores import cores


@pytest.fixture
def quota(tmp_path, monkeypatch):
    """Make the files of control groups, by path below /sys/fs/cgroup, with an affinity of 16 cores."""
    monkeypatch.setattr(module, "_CGROUPS", tmp_path)
    monkeypatch.setattr(module, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))

    def make(membership: str, **files: str) -> int:
        (tmp_path / "membership").write_text(membership)
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return cores()

    return make


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000", 16),
    ],
)
def test_a_quota_of_version_2(quota, text, expected):
    assert quota("0::/\n", **{"cpu.max": text}) == expected


def test_the_tightest_quota_around_a_process_counts(quota):
    files = {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"}
    assert quota("0::/a/b\n", **files) == 3


@pytest.mark.parametrize(("micros", "expected"), [("-1\n", 16), ("250000\n", 3)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1(quota, controllers, micros, expected):
    folder = f"{controllers}/docker/1"
    files = {f"{folder}/cpu.cfs_quota_us": micros, f"{folder}/cpu.cfs_period_us": "100000\n"}
    assert quota(f"3:cpuset:/\n2:{controllers}:/docker/1\n0::/\n", **files) == expected


def test_in_a_container_the_path_may_be_the_hosts(quota):
    assert quota("0::/kubepods/pod1/1\n", **{"cpu.max": "400000 100000"}) == 4


def test_without_control_groups_affinity_counts(quota):
    assert quota("") == 16


def test_this_machine_has_cores():
    assert 1 <= cores() <= len(os.sched_getaffinity(0)) < math.inf
