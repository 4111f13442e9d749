"""How labelling's stages share a cluster, how often they may try again, and how large their blocks are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.errors import UsageError

FETCH_CPUS = 0.5
"""Of a fetch task, which waits for the store for about half its time: two of them keep one core busy."""
LIGHT_CPUS = 0.25
"""Of a task that reads a manifest shard or writes a label file."""
ACTOR_CPUS = 1.0
"""Of a replica without GPU, at most: an eighth of its machine. It computes on all cores; who feeds it lives on what is
idle, and Ray keeps a share for every stage. On two cores a replica that claimed one would leave a single fetch task,
and photographs of 12 megapixels keep two busy."""

# Ray's defaults repeat for ever a block whose object kills its process. There is no named argument for these
# bounds: they go through `ray_remote_args`, which Ray 2.64 will drop (hence the pin in pyproject.toml).
TASK_RETRIES: dict[str, Any] = {"max_retries": 1}
ACTOR_RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 1}

_CORES = 8  # of a replica without GPU: a batch of 64 gives each of them a piece

BATCH_SIZES, GPU_BATCH_SIZES = (64,), (64, 128, 256)
"""Images that go through the model at once, where no option says so: a replica takes the fastest."""

_LEAST_ROWS, _SMALL_ROWS, _MOST_ROWS = 64, 192, 512
_SEARCHED_ROWS = 32  # take a core five seconds at 12 megapixels
_SMALL_BYTES = 16_000_000  # of a block's objects as stored, where it holds more than the least
_BLOCKS = 2_000
_GUESS = 250_000  # bytes of an object of which nobody knows how many


def block_rows(objects: int, typical_bytes: float | None, batch_size: int, faces: str) -> int:
    """Objects per block: what one fetch task holds, what a crash can cost, and what becomes readable at once.

    Small blocks show progress early and lose little, but each costs Ray a tenth of a second of one core, in its
    processes together. Of crops, which are done that fast by the dozen, and of large corpora, which would make more
    tasks and files than anyone wants, a block holds more; of photographs not as many, as each may show a whole class,
    and the crops of a block are in memory at once. It holds at least `batch_size`, so that the model gets full batches,
    but of photographs whose faces have to be found: that takes so much longer than the model that it does not matter.

    Args:
        objects: of the run.
        typical_bytes: of an object as stored; None where nobody knows.
        batch_size: of the model.
        faces: how they are found, as LabelOptions has it.
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
    """And at most."""
    actors_per_node: int
    actor_cpus: float | None
    actor_gpus: float | None
    batch_sizes: tuple[int, ...]
    """What a replica may choose its batch size from."""


def plan(options: LabelOptions, cluster: Cluster) -> Plan:
    """Pool sizes for a cluster.

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
    """What a replica claims. Ray starts those of a lost machine anew on the others, where they must leave room for the
    tasks that feed them: at an eighth of its machine each, they do while a quarter of the machines is there."""
    return min(ACTOR_CPUS, cluster.cpus / cluster.nodes / _CORES)
