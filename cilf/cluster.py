"""Ray: found or started, and kept quiet."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cilf.errors import JobError, UsageError


@dataclass(frozen=True)
class Cluster:
    """What there is to run on."""

    cpus: float
    gpus: float
    nodes: int


def this_machine() -> Cluster:
    """The cluster that a local Ray would be. At least two CPUs are claimed: one core is enough to work on."""
    return Cluster(cpus=max(2, len(os.sched_getaffinity(0))), gpus=0, nodes=1)


@contextmanager
def running(address: str | None) -> Iterator[Cluster]:
    """Ray, quiet: an existing cluster, or one on this machine that ends with the context.

    A Ray that this process has started before is used and left alone.

    Raises:
        UsageError: there is no cluster at `address`.
        JobError: Ray does not start on this machine.
    """
    # Workers run at niceness 15 by default, which starves them on a machine that does anything else.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its backend prints an error for every actor with arguments that may be restarted (ray#53727); ours are small.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    started = not ray.is_initialized()
    try:
        if started:
            _start(address)
        _configure()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        total = ray.cluster_resources()
        yield Cluster(total.get("CPU", 0), total.get("GPU", 0), max(1, len(nodes)))
    finally:
        if started:
            ray.shutdown()


def living() -> frozenset[str]:
    """Ids of the nodes that are there."""
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def check_everywhere(url: str) -> None:
    """Make sure that every node reads a file that this process has just written, where there are several.

    Otherwise each would write to a disk of its own, and find nothing of what the others have written.

    Raises:
        UsageError: some do not.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    others = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU") and n["NodeID"] != here]
    look = ray.remote(num_cpus=0)(_reads)
    looks = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(url)
        for node in others
    ]
    for node, seen in zip(others, looks, strict=True):
        try:
            reason = ray.get(seen)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            continue  # it has just gone
        if reason:
            raise UsageError(
                f"node {node['NodeManagerAddress']} cannot read {url} ({reason}): on several machines, INPUT and "
                "OUTPUT are URLs, or paths on a file system that all of them share"
            )


def _reads(url: str) -> str | None:
    """None, or why not."""
    from cilf.storage import locate, read

    try:
        return None if read(locate(url)) is not None else "no such file there"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _start(address: str | None) -> None:
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address and address.startswith("http"):
        raise UsageError(
            f"{address} is where jobs are submitted, not a cluster to join: use `ray job submit --address {address} "
            "--working-dir . -- python jobs/label.py …`, or unset RAY_ADDRESS to run on this machine"
        )
    try:
        _knock(address)
        with _stderr_hidden(), _interrupts_later():
            if address:
                ray.init(address, **quiet)
            else:
                _start_here(num_cpus=int(this_machine().cpus), include_dashboard=False, **quiet)
    except Exception as error:
        text = _reason(error)
        if address:
            raise UsageError(f"no Ray cluster at {address} ({text}): check --cluster or RAY_ADDRESS") from error
        raise JobError(f"Ray did not start on this machine, which may be overloaded ({text})") from error


def _reason(error: BaseException) -> str:
    """What is at the bottom of a failed start, in one line; Ray puts the traceback of one in the text of another."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].strip()[:500]


def _start_here(**settings: Any) -> None:
    import ray

    # Ray ends workers that have been idle for a second where there are more than cores, and starts others a moment
    # later: of small blocks on two cores that took half of the time.
    settings["_system_config"] = {"idle_worker_killing_time_threshold_ms": 600_000}
    # Ray gives its processes 30 s to come up, and no setting more. On a busy machine that is not enough every time.
    for last in (False, False, True):
        try:
            with _batch_scheduling():
                ray.init("local", **settings)
            return
        except Exception:
            if last:
                raise


@contextmanager
def _batch_scheduling() -> Iterator[None]:
    """Processes started here wait their turn when they wake up, instead of taking a core from one that computes.

    Each process of Ray wakes up a hundred times a second to see whether there is a signal. On two cores what idles
    that way took an eighth of the model's speed, and a third less when it waits.
    """
    policy = os.sched_getscheduler(0)
    with suppress(OSError):  # A sandbox may forbid it.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, policy, os.sched_param(0))


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM, first ones, wait for the end of the context: half of a Ray can neither work nor be ended.

    Whoever handled them still does: Ray's own handler of SIGTERM exits without a word, its processes killed first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def later(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        handler = before[signal.Signals(number)]
        if len(seen) > 1 and callable(handler):
            handler(number, frame)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, later)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
    if seen:
        signal.raise_signal(seen[0])


def _knock(address: str | None) -> None:
    """Ray itself tries an address where nobody listens for more than five minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _stderr_hidden() -> Iterator[None]:
    """Nothing reaches the terminal, not even from C++: Ray announces there that its log level has been set."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _configure() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    # Reads the footers of Parquet files in a pool of actors, which costs more to start than our small shards to read.
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    # What goes wrong comes back as an exception; the logs would only say it again, at length.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
