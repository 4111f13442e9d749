"""Two processes that share the rows of a system stay equal, even if parameters get no gradient in a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny_systems import tiny
from tiny_training import labelled_batch

from cilf.training.learner import Learner

STEPS = 8


def rows(step: int, rank: int) -> dict[str, torch.Tensor]:
    draw = np.random.default_rng([step, rank])
    image = torch.from_numpy(draw.integers(0, 256, (8, 1, 32, 32, 3), np.uint8))
    return labelled_batch(image, torch.from_numpy(draw.uniform(0, 90, 8).astype(np.float32)))


def share(rank: int, name: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    recipe = tiny(name).model_copy(update={"epochs": 1})
    ages_N = np.linspace(1, 80, 50, dtype=np.float32)
    learner = Learner(recipe, torch.device("cpu"), STEPS, strategy="ddp", ages_N=ages_N)
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    for step in range(STEPS):
        learner.learn([rows(step, rank)], first_epoch=False)
    if learner.model.rows_after_epoch:
        learner.after_epoch(lambda: [rows(step, rank) for step in range(2)])
    learned = dict(learner.model.named_parameters())
    leaves = {name: value for name, value in learner.model.named_buffers() if name.endswith("_TL")}
    moved = {name for name, value in learned.items() if (value != before[name]).any()}
    torch.save({"learned": learned | leaves, "moved": moved}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["l2rclip", "ordinalclip", "regression-forest", "swinface"])
def test_two_processes_stay_alike(name, tmp_path):
    mp.spawn(share, args=(name, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["learned"].keys() == two["learned"].keys()
    for part, value in one["learned"].items():
        assert torch.equal(value, two["learned"][part]), part
    assert {part.split(".")[0] for part in one["moved"]} == {"image", "head"}
    if name == "regression-forest":
        assert "head.mean_TL" in one["learned"]
        assert len(one["learned"]["head.mean_TL"].unique()) > 10
