"""How labelling's stages share a cluster, and how often they may try again."""

from __future__ import annotations

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
"""Of a replica without GPU. It computes on all cores of its machine; the fetch tasks live on what is idle."""

# Ray's defaults repeat for ever a block whose object kills its process. There is no named argument for these
# bounds: they go through `ray_remote_args`, which Ray 2.64 will drop (hence the pin in pyproject.toml).
TASK_RETRIES: dict[str, Any] = {"max_retries": 3}
ACTOR_RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 2}


@dataclass(frozen=True)
class Plan:
    """How the stages share a cluster."""

    actors: int
    actors_per_node: int
    actor_cpus: float | None
    actor_gpus: float | None


def plan(options: LabelOptions, cluster: Cluster) -> Plan:
    """Pool sizes for a cluster.

    Raises:
        UsageError: the cluster has too few CPUs or GPUs for them; Ray would wait for ever.
    """
    actors = options.actors or int(cluster.gpus) or cluster.nodes
    actor_cpus = 0 if cluster.gpus else ACTOR_CPUS
    wanted = actors * actor_cpus + FETCH_CPUS + 2 * LIGHT_CPUS
    if wanted > cluster.cpus:
        raise UsageError(
            f"too few CPUs: {actors} model actor(s) and the tasks that feed them need {wanted:g}, and there are "
            f"{cluster.cpus:g}; lower --actors or run on more machines"
        )
    if cluster.gpus and actors > cluster.gpus:
        raise UsageError(f"too few GPUs: {actors} model actors need one each, and there are {cluster.gpus:g}")
    return Plan(
        actors=actors,
        actors_per_node=-(-actors // cluster.nodes),
        actor_cpus=None if cluster.gpus else ACTOR_CPUS,
        actor_gpus=1 if cluster.gpus else None,
    )
