"""Training without Ray: one process per worker, each of which alternately prepares a batch and trains on it."""

from __future__ import annotations

import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from cilf.cores import cores
from cilf.datasets.labels import OLDEST
from cilf.own_process import prepare
from cilf.training.epochs import Views
from cilf.training.learner import Learner
from cilf.training.recipe import Recipe
from cilf.training.start import start_weights

_WARM_UP = 3
"""Warm-up steps, which are not timed."""


def plain_loop(recipe: Recipe, rows: pa.Table) -> float:
    """Images per second of all workers together, over one epoch with the data in memory. The work is the same as in
    `cilf train`: network, views, optimiser, weight averages and number of threads; DDP connects the workers by gloo.

    Args:
        recipe: its `workers` run on this machine's CPUs.
        rows: rows of the schema cilf.training.examine.ROW.
    """
    with tempfile.TemporaryDirectory(prefix="cilf-bench-") as folder:
        work = [(rank, recipe, rows, f"file://{Path(folder) / 'meeting'}") for rank in range(recipe.most_workers)]
        with get_context("spawn").Pool(len(work)) as pool:  # a fork can deadlock on a lock held by a torch thread
            return sum(pool.starmap(_work, work, chunksize=1))


def _work(rank: int, recipe: Recipe, rows: pa.Table, meeting: str) -> float:
    """Images per second of one worker."""
    prepare()
    world = recipe.most_workers
    torch.set_num_threads(max(1, cores() // world))
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    share, device = recipe.batch_size // world, torch.device("cpu")
    steps = len(rows) // recipe.batch_size
    images, captions = recipe.model.images, tuple(sorted(rows["caption"].drop_null().unique().to_pylist()))
    views = Views(images, np.ones(OLDEST + 1, np.float32), (0,), recipe.views, recipe.model.ages.oldest, captions)
    strategy: Literal["ddp"] | None = "ddp" if world > 1 else None
    ages_N = rows["age"].to_numpy()
    learner = Learner(recipe, device, steps, strategy, start_weights(recipe), ages_N, captions)
    order = np.random.default_rng(0).permutation(len(rows))[rank::world]
    for step in range(steps):
        if step == _WARM_UP:
            dist.barrier()
            began = time.perf_counter()
        batch = views(rows.take(order[step * share : (step + 1) * share]))
        learner.learn(_portions(batch, recipe.accumulate), first_epoch=step == 0)
    rate = (steps - _WARM_UP) * share / (time.perf_counter() - began)
    dist.destroy_process_group()
    return rate


def _portions(batch: dict[str, np.ndarray], count: int) -> list[dict[str, Any]]:
    parts = [np.split(values, count) for values in batch.values()]
    return [dict(zip(batch, map(torch.from_numpy, part), strict=True)) for part in zip(*parts, strict=True)]
