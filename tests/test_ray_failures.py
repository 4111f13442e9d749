from __future__ import annotations

import errno
import os

import pytest

from cilf.ray_failures import is_late, not_joined, not_started


def of(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/tmp/x")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (of(errno.ENOSPC), "no space is left"),
        (RuntimeError("cannot write: No space left on device"), "no space is left"),
        (of(errno.EACCES), "set RAY_TMPDIR to a folder that can be written to"),
        (of(errno.EROFS), "set RAY_TMPDIR to a folder that can be written to"),
        (of(errno.EMFILE), "ulimit -n"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (of(errno.ENOMEM), "too little memory"),
        (ValueError("the amount of memory on this node available for tasks and actors (-1 GB) is less"), "memory"),
        (ValueError("The configured object store size (9 GB) exceeds /dev/shm size (0.06 GB)"), "--shm-size"),
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x"), "25 characters"),
        (RuntimeError("Could not determine home directory."), "set HOME"),
        (RuntimeError("Package size (667.78MiB) exceeds the maximum size of 512.00MiB."), "RAY_RUNTIME_ENV_HOOK"),
        (ModuleNotFoundError("No module named 'grpc'", name="grpc"), "the package grpc is missing"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "RAY_GCS_SERVER_PORT"),
    ],
)
def test_each_cause_has_its_remedy_and_none_is_an_overload(error, remedy):
    told = not_started(error)
    assert remedy in told
    assert str(error).splitlines()[-1] in told
    assert "overload" not in told


def test_only_a_start_that_takes_too_long_may_be_an_overload():
    assert "overloaded, so try again" in not_started(RuntimeError("The current node timed out during startup."))


def test_what_ray_leaves_out_stands_in_its_logs():
    error = RuntimeError("The current node timed out during startup.")
    error.add_note("raylet: Failed to write: No space left on device")
    assert not_started(error).startswith("no space is left")


def test_a_crash_of_a_server_is_no_overload():
    error = RuntimeError("The current node timed out during startup.")
    error.add_note("gcs.cc:79: You may have found a bug. Check failed: x > 0 y is missing\n*** StackTrace")
    assert not_started(error).startswith("one of its processes crashed: Check failed: x > 0 y is missing (")
    error.add_note("Check failed: allocation.has_value() It's likely we don't have enough space in /dev/shm")
    assert not_started(error).startswith("its object store does not fit: free or enlarge /dev/shm")


def test_only_what_may_be_late_is_tried_again():
    assert is_late(RuntimeError("The current node timed out during startup."))
    assert is_late(RuntimeError("nobody knows"))
    assert not is_late(of(errno.ENOSPC))
    assert not is_late(RuntimeError("can't start new thread"))


def test_an_unknown_cause_is_told_as_it_is():
    inner = ValueError("Traceback (most recent call last):\n  File x\nKeyError: 'surprise'")
    outer = RuntimeError("wrapped")
    outer.__cause__ = inner
    assert not_started(outer) == "KeyError: 'surprise'"


def test_a_cluster_that_asks_for_a_token():
    assert "RAY_AUTH_TOKEN_PATH" in not_joined(RuntimeError("InvalidAuthToken: Authentication token is missing."))
    assert not_joined(TimeoutError("timed out")) == "timed out"
