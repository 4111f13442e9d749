"""Joining or starting Ray, without its messages."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cilf.errors import JobError, UsageError
from cilf.local_ray import cpus, local_ray
from cilf.ray_failures import not_joined, not_started
from cilf.startup import open_streams


@dataclass(frozen=True)
class Cluster:
    """The resources of a Ray cluster."""

    cpus: float
    gpus: float
    nodes: int


def this_machine() -> Cluster:
    """The cluster that Ray on this machine would be."""
    return Cluster(cpus=cpus(), gpus=0, nodes=1)


@contextmanager
def running(address: str | None) -> Iterator[Cluster]:
    """Ray without its messages: an existing cluster, or one on this machine that ends with the context.

    A Ray that this process has started before is used, and keeps running.

    Raises:
        UsageError: there is no cluster at `address`.
        JobError: Ray does not start on this machine.
    """
    # Workers run at niceness 15 by default, which starves them on a machine that does anything else.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray's backend prints an error for every restartable actor with arguments (ray#53727); our arguments are small.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    open_streams()
    _obey_environment()
    with ExitStack() as ours:
        if not ray.is_initialized():
            _start(address, ours)
        _configure()
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        total = ray.cluster_resources()
        yield Cluster(total.get("CPU", 0), total.get("GPU", 0), max(1, len(nodes)))


def _obey_environment() -> None:
    """Apply RAY_ENABLE_UV_RUN_RUNTIME_ENV, which Ray reads when it is imported; that may have been before CILF."""
    from ray._private import ray_constants

    if os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV") == "0":
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False


def living() -> frozenset[str]:
    """Ids of the nodes that are alive."""
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def check_everywhere(url: str) -> None:
    """Make sure that all other nodes can read a file that this process has just written.

    Otherwise each node would write to a disk of its own, and find none of the files of the others.

    Raises:
        UsageError: a node cannot read it.
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
            continue  # the node has just gone
        if reason:
            raise UsageError(
                f"node {node['NodeManagerAddress']} cannot read {url} ({reason}): on several machines, INPUT and "
                "OUTPUT must be URLs, or paths on a file system that all machines share"
            )


def _reads(url: str) -> str | None:
    """None if this node can read the file, else the reason why not."""
    from cilf.storage import locate, read

    try:
        return None if read(locate(url)) is not None else "no such file there"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _start(address: str | None, ours: ExitStack) -> None:
    if address and address.startswith("http"):
        raise UsageError(
            f"{address} is where jobs are submitted, not a cluster to join: use `ray job submit --address {address} "
            "--working-dir . -- python jobs/label.py …`, or unset RAY_ADDRESS to run on this machine"
        )
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        _knock(address)
        with _stderr_hidden(), _interrupts_later():
            ours.enter_context(_joined(address, **quiet) if address else local_ray(**quiet))
    except JobError:
        raise
    except Exception as error:
        if address:
            text = f"cannot join a Ray cluster at {address}: {not_joined(error)}; check --cluster or RAY_ADDRESS"
            raise UsageError(text) from error
        raise JobError(f"Ray did not start on this machine: {not_started(error)}") from error


@contextmanager
def _joined(address: str, **settings: Any) -> Iterator[None]:
    import ray

    try:
        ray.init(address, **settings)
        yield
    finally:
        ray.shutdown()


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Delay the first Ctrl-C or SIGTERM until the end of the context: a half-started Ray can neither work nor be ended.

    The earlier handlers then handle it, not the ones that Ray installs: Ray's handler of SIGTERM kills Ray's processes
    and exits without a message.
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
    """Raise OSError if nothing listens at the address, which Ray itself would try for more than five minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _stderr_hidden() -> Iterator[None]:
    """Discard all output to stderr, even from C++: Ray announces there that its log level has been set."""
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
    # It reads Parquet footers in a pool of actors, which takes longer to start than our small shards take to read.
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    # Failures come back as exceptions; the logs would only repeat them, at length.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
