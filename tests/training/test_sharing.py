"""Two processes that share a batch learn the same as one process with the whole batch, with DDP and FSDP2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny_training import RECIPE, labelled_batch

from cilf.training.learner import Learner
from cilf.training.recipe import Recipe

STEPS = 3


def rows(step: int) -> dict[str, torch.Tensor]:
    draw = np.random.default_rng(step)
    image = torch.from_numpy(draw.integers(0, 256, (16, 1, 32, 32, 3), np.uint8))
    return labelled_batch(image, torch.from_numpy(draw.uniform(0, 90, 16).astype(np.float32)))


def learn(strategy: Literal["ddp", "fsdp2"] | None, part: slice) -> tuple[Learner, list[float]]:
    torch.set_num_threads(1)
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}, "batch_size": 16})
    learner = Learner(recipe, torch.device("cpu"), steps=5, strategy=strategy)
    losses = []
    for step in range(STEPS):
        portion = {name: value[part] for name, value in rows(step).items()}
        losses.append(float(learner.learn([portion], first_epoch=False)["loss"]))
    return learner, losses


def share(rank: int, strategy: Any, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    learner, losses = learn(strategy, slice(8 * rank, 8 * rank + 8))
    mean = torch.tensor(losses)
    dist.all_reduce(mean)
    state = learner.state()
    with learner.averaged(), torch.inference_mode():
        ages = learner.estimate(rows(9)["image"])
    if rank == 0:
        torch.save({"losses": mean / 2, "state": state, "ages": ages}, Path(folder) / "result.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_learn_the_same_as_one(strategy, tmp_path):
    alone, losses = learn(None, slice(0, 16))
    mp.spawn(share, args=(strategy, str(tmp_path)), nprocs=2)
    shared = torch.load(tmp_path / "result.pt", weights_only=True)
    assert shared["losses"].tolist() == pytest.approx(losses, abs=1e-4)
    ours, theirs = alone.state(), shared["state"]
    for kind in ("model", "average"):
        assert set(ours[kind]) == set(theirs[kind])
        apart = torch.cat([(ours[kind][n].double() - theirs[kind][n].double()).abs().flatten() for n in ours[kind]])
        # Adam divides by the gradient's size: if that is hardly above rounding errors, a parameter may move either way,
        # by up to the learning rate in each step. Which parameters and how far depends on the processor.
        assert (apart > 1e-5).double().mean() < 1e-3
        assert (apart > 1e-3).double().mean() < 1e-5
        assert apart.max() < STEPS * RECIPE["learning_rate"]
    # A single worker can resume from the state of two workers.
    alone.load(theirs)
    with alone.averaged(), torch.inference_mode():
        assert torch.allclose(alone.estimate(rows(9)["image"]), shared["ages"], atol=1e-3)
