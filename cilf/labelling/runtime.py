"""How the stages of labelling share a cluster, how often they are retried, and how large their blocks are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.errors import UsageError

FETCH_CPUS = 0.5
"""CPUs of a fetch task. It waits for the store about half of its time, so two of them keep one core busy."""
LIGHT_CPUS = 0.25
"""CPUs of a task that reads a manifest shard or writes a label file."""
ACTOR_CPUS = 1.0
"""Most CPUs that a replica without GPU claims: it claims an eighth of its machine. It computes on all cores; the tasks
that feed it use the idle ones, and Ray reserves a share for every stage. On two cores, a replica that claimed one would
leave room for a single fetch task, and photographs of 12 megapixels keep two busy."""

# By default, Ray never stops retrying a block whose object kills its process. There is no named argument for these
# limits: they go through `ray_remote_args`, which Ray 2.64 will drop (hence the pin in pyproject.toml).
TASK_RETRIES: dict[str, Any] = {"max_retries": 1}
ACTOR_RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 1}

_CORES = 8  # cores per replica without GPU: a batch of 64 gives work to each of them

BATCH_SIZES, GPU_BATCH_SIZES = (64,), (64, 128, 256)
"""Candidate numbers of images per model call, if no option sets it: a replica uses the fastest."""

_LEAST_ROWS, _SMALL_ROWS, _MOST_ROWS = 64, 192, 512
_SEARCHED_ROWS = 32  # occupy a core for five seconds at 12 megapixels
_SMALL_BYTES = 16_000_000  # most stored bytes of the objects in a block with more than _LEAST_ROWS
_BLOCKS = 2_000
_GUESS = 250_000  # assumed bytes of an object whose size is unknown


def block_rows(objects: int, typical_bytes: float | None, batch_size: int, faces: str) -> int:
    """The number of objects per block: what one fetch task holds, a crash can cost, and becomes readable at once.

    Small blocks show progress early and lose little, but each costs Ray a tenth of a second of one core, over all its
    processes. Blocks are larger for crops, of which dozens are done in that time, and for large corpora, which would
    otherwise make too many tasks and files. They are smaller for photographs, because each may show a whole class, and
    the crops of a block are in memory at once. A block holds at least `batch_size` objects, so that the model gets full
    batches, except for photographs in which faces have to be found: finding takes so much longer than the model that
    full batches do not matter.

    Args:
        objects: number of objects in the run.
        typical_bytes: stored size of an object; None if unknown.
        batch_size: crops per model call.
        faces: how faces are found, see LabelOptions.
    """
    small = min(_SMALL_ROWS, int(_SMALL_BYTES / max(1, typical_bytes or _GUESS)))
    of_many = min(_MOST_ROWS if small == _SMALL_ROWS else _SMALL_ROWS, objects // _BLOCKS)
    if faces != "none" and small < _LEAST_ROWS:
        return max(_SEARCHED_ROWS, of_many)
    return max(_LEAST_ROWS, small, batch_size, of_many)


@dataclass(frozen=True)
class Plan:
    """How the stages share a cluster."""

    actors: int
    """Replicas of the model at the start."""
    max_actors: int
    """Most replicas of the model."""
    actors_per_node: int
    actor_cpus: float | None
    actor_gpus: float | None
    batch_sizes: tuple[int, ...]
    """Candidates from which a replica chooses its batch size."""


def plan(options: LabelOptions, cluster: Cluster) -> Plan:
    """Choose the pool sizes for a cluster.

    Raises:
        UsageError: the cluster has too few CPUs or GPUs for them; Ray would wait for ever.
    """
    per_gpu = options.gpus_per_actor
    of_cpus = cluster.nodes * math.ceil(cluster.cpus / cluster.nodes / _CORES)
    actors = options.actors or int(cluster.gpus / per_gpu) or of_cpus
    if options.max_actors is not None and options.max_actors < actors:
        raise UsageError(f"--max-actors {options.max_actors} is below the {actors} actor(s) to start with")
    actor_cpus = 0.0 if cluster.gpus else _actor_cpus(cluster)
    wanted = actors * actor_cpus + FETCH_CPUS + 2 * LIGHT_CPUS
    if wanted > cluster.cpus:
        raise UsageError(
            f"too few CPUs: {actors} model actor(s) and the tasks that feed them need {wanted:g}, and there are "
            f"{cluster.cpus:g}; lower --actors or run on more machines"
        )
    if cluster.gpus and actors * per_gpu > cluster.gpus:
        raise UsageError(f"too few GPUs: {actors} model actors need {per_gpu:g} each, and there are {cluster.gpus:g}")
    return Plan(
        actors=actors,
        max_actors=options.max_actors or actors,
        actors_per_node=-(-actors // cluster.nodes),
        actor_cpus=None if cluster.gpus else actor_cpus,
        actor_gpus=per_gpu if cluster.gpus else None,
        batch_sizes=(options.batch_size,) if options.batch_size else GPU_BATCH_SIZES if cluster.gpus else BATCH_SIZES,
    )


def _actor_cpus(cluster: Cluster) -> float:
    """The CPUs that a replica claims. Ray restarts the replicas of a lost machine on the others, where they must leave
    room for the tasks that feed them: with an eighth of a machine each, they do as long as a quarter of the machines
    is left."""
    return min(ACTOR_CPUS, cluster.cpus / cluster.nodes / _CORES)
