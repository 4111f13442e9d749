"""The training run on Ray Train: workers, checkpoints, restarts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cilf.cluster import Cluster
from cilf.errors import JobError, UsageError
from cilf.storage import Location
from cilf.training.epochs import Dealer
from cilf.training.loop import STATE_FILE, Task, work
from cilf.training.material import Material
from cilf.training.progress import Board, watched
from cilf.training.recipe import Recipe
from cilf.training.start import Weights

CHECKPOINTS = "checkpoints"
"""Subfolder of OUTPUT for checkpoints."""


def worker_resources(recipe: Recipe, cluster: Cluster) -> tuple[float, float]:
    """CPUs and GPUs that each worker requests: one GPU, if the cluster has any. Otherwise the workers together request
    half of the CPUs, and the other half is for the tasks that read and augment. On several machines they request a
    quarter, so that after the loss of half of the machines, the others still have room for both.

    Raises:
        UsageError: there are more workers than the cluster has room for; Ray would wait forever.
    """
    least = recipe.workers if isinstance(recipe.workers, int) else recipe.workers[0]
    if cluster.gpus:
        if least > cluster.gpus:
            raise UsageError(f"workers: {least}, but there are {cluster.gpus:g} GPUs, and each worker needs one")
        return 1.0, 1.0
    if least > cluster.cpus:
        raise UsageError(f"workers: {least}, but there are {cluster.cpus:g} CPUs")
    share = 1 / 2 if cluster.nodes == 1 else 1 / 4
    return round(share * cluster.cpus / recipe.most_workers, 2), 0.0


def train(
    recipe: Recipe,
    start: Weights | None,
    trunk: Weights | None,
    material: Material,
    weights_K: np.ndarray,
    output: Location,
    cluster: Cluster,
) -> dict[str, torch.Tensor]:
    """Train, or resume from the last checkpoint in OUTPUT; return the averaged weights.

    Raises:
        UsageError: the cluster has no room for the workers, or there are fewer rows than a batch.
        JobError: the workers failed more often than the recipe allows.
    """
    # A worker that reports waits for the controller's next health check, by default every 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    import ray
    from pyarrow.fs import FSSpecHandler, PyFileSystem
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    rows = material.rows_per_epoch(recipe.epochs)
    if rows < recipe.batch_size:
        raise UsageError(f"{rows} rows to train on are fewer than one batch of {recipe.batch_size}")
    cpus, gpus = worker_resources(recipe, cluster)
    board = ray.remote(num_cpus=0)(Board).remote()
    task = Task(
        recipe=recipe,
        start=start,
        fit=material.fit,
        rows=rows,
        ages_N=material.ages_N,
        captions=list(material.captions),
        trunk=trunk,
        choose=material.choose,
        groups=material.groups,
        weights_K=weights_K,
        output=output.url,
        board=board,
        dealer=ray.remote(num_cpus=0)(Dealer).remote(),
    )
    trainer = TorchTrainer(
        _work,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=recipe.workers,  # type: ignore[arg-type]  # V2 takes (least, most)
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": cpus, "GPU": gpus},
            # GPUs communicate fastest within a machine; on CPUs every worker uses all the cores of its machine.
            placement_strategy="PACK" if gpus else "SPREAD",
        ),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=output.path,
            storage_filesystem=PyFileSystem(FSSpecHandler(output.fs)),
            failure_config=FailureConfig(max_failures=recipe.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=recipe.keep_checkpoints),
        ),
    )
    try:
        result = watched(trainer.fit, board)
    except Exception as error:
        again = "run the same command again to resume from the last checkpoint"
        raise JobError(f"training stopped: {_cause(error)} ({again})") from error
    if result.checkpoint is None:
        raise JobError("training ended without a checkpoint")
    with result.checkpoint.as_directory() as folder:
        return torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True)["average"]


def _work(config: dict[str, Any]) -> None:
    work(config["task"])


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-1:])[:1000] or type(error).__name__
