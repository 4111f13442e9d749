"""The loop of every training worker: get rows, train, measure and save until all epochs are done."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cilf.card import Images
from cilf.cores import cores
from cilf.datasets.age_groups import AgeGroup
from cilf.errors import JobError
from cilf.evaluation.scale import scale_of
from cilf.training.choosing import figures
from cilf.training.epochs import Views, batches, shown
from cilf.training.learner import Learner
from cilf.training.progress import Teller
from cilf.training.recipe import Recipe
from cilf.training.run_folder import RunFolder
from cilf.training.sources import TASK_CPUS
from cilf.training.start import Weights

if TYPE_CHECKING:
    from ray.data import Dataset

STATE_FILE = "state.pt"
_NOTE_STEPS = 50  # losses are averaged over workers once per this many steps, because that synchronises the device
_ALONE_STEPS = 3
_MEASURE_BATCH = 64
_AHEAD = 3
"""Number of batches that are prepared while a worker trains."""


@dataclass(frozen=True)
class Task:
    """The data that the workers receive."""

    recipe: Recipe
    start: Weights | None
    """Weights to continue from; None if there are none."""
    fit: Dataset
    """Rows to train on: cilf.training.examine.ROW and `repeat`."""
    rows: int
    """Number of rows in the shortest epoch."""
    ages_N: np.ndarray
    """float32: ages of all rows to train on, years; for a group, its middle."""
    captions: list[str]
    """Captions of the rows to train on; batches contain indices into this list."""
    trunk: Weights | None
    """Initial weights of the image tower's trunk; None if there are none."""
    choose: Dataset
    """Rows that progress is measured on."""
    groups: list[AgeGroup]
    """Age groups that the `choose` rows have instead of ages, youngest first."""
    weights_K: np.ndarray
    """float32: weight of a row by its age in whole years."""
    output: str
    """URL of the run folder."""
    board: Any
    """Handle of an actor, cilf.training.progress.Board."""
    dealer: Any
    """Handle of an actor, cilf.training.epochs.Dealer."""


@dataclass
class Clock:
    """Time that an epoch spends waiting, and in total."""

    waiting: float = 0.0
    """Time spent waiting for rows, seconds."""
    total: float = 0.0
    """Total time, seconds."""
    images: int = 0
    """Number of images of all workers."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / max(self.total, 1e-9)

    def figures(self, alone: float, world: int) -> dict[str, float]:
        """Speed metrics for the run folder; `alone` is the rate of a single worker, images/s, or 0 if unknown."""
        rate = self.rate
        speed = {"images_per_s": rate, "waiting_for_data": self.waiting / max(self.total, 1e-9)}
        return speed | ({"scaling_efficiency": rate / (world * alone)} if alone else {})


def work(task: Task) -> None:
    """Run one worker from its start, or its checkpoint, to the last epoch."""
    worker = Worker(task)
    for number in range(worker.learner.step // worker.steps, task.recipe.epochs):
        worker.epoch(number)


class Worker:
    """One process of a training run, inside Ray Train."""

    def __init__(self, task: Task) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.task, self.recipe = task, task.recipe
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        if self.device.type == "cpu":
            # Ray gives a worker one thread per CPU that it requests, and workers request half of the CPUs.
            torch.set_num_threads(max(1, cores() // context.get_local_world_size()))
        self.share = self.recipe.batch_size // self.world
        """Number of this worker's rows in a batch."""
        self.steps = task.rows // (self.share * self.world)
        """Optimiser steps per epoch; fixed in advance, because all workers must take equally many."""
        shared = self.world > 1 or self.recipe.strategy == "fsdp2"
        strategy = self.recipe.strategy if shared else None
        self.learner = Learner(
            self.recipe, self.device, self.steps, strategy, task.start, task.ages_N, task.captions, task.trunk
        )
        self._resume()
        self.scale = scale_of(self.recipe.model.ages.space)
        self.folder = RunFolder(task.output, self.learner.step, self.scale.unit) if self.rank == 0 else None
        self.teller = self._teller() if self.rank == 0 else None
        self.alone = 0.0

    def epoch(self, number: int) -> None:
        """Train on all rows once, from the step that an earlier attempt has reached; then measure, log and save."""
        recipe, learner = self.recipe, self.learner
        views = self._views(recipe.images(number), (recipe.seed, number))
        seed = 1_000_003 * recipe.seed + number
        torch.manual_seed(1_009 * seed + self.rank)
        done = learner.step % self.steps
        own = self._batches(f"epoch {number}", self._shown(number), views, self.share, seed, first=done)
        clock, losses, loss = Clock(), [], 0.0
        for step in range(done + 1, self.steps + 1):
            began = time.monotonic()
            portions = _portions(self._next(own), recipe.accumulate)
            waited = time.monotonic() - began
            if self.world > 1 and not self.alone:
                self.alone = self._alone(portions[0]["image"])
            began = time.monotonic()
            losses.append(learner.learn(portions, first_epoch=number == 0))
            clock.waiting += waited
            clock.total += waited + time.monotonic() - began
            clock.images += self.share * self.world
            saving = recipe.checkpoint_steps and learner.step % recipe.checkpoint_steps == 0 and step < self.steps
            if len(losses) == _NOTE_STEPS or step == self.steps or saving:
                loss = self._note_losses(losses)
                losses = []
                if self.teller and step < self.steps:
                    self.teller.step(learner.step, loss, clock.rate)
            if saving:
                self._save({"step": learner.step})
        self._after(number, views.images)
        line = {"epoch": number + 1, "step": learner.step, "size": views.images.size, **self._measure()}
        line |= clock.figures(self.alone, self.world)
        if self.folder:
            self.folder.log(line)
        if self.teller:
            self.teller.epoch(learner.step, loss, clock.rate, line)
        self._save(line)

    def _after(self, number: int, images: Images) -> None:
        """Pass the network the rows that its `after_epoch` needs, cropped as in labelling."""
        wanted = self.learner.model.rows_after_epoch
        each = min(self.steps, -(-wanted // (self.share * self.world)))
        if not each:
            return
        views = self._views(images)

        def some() -> Iterator[dict[str, Tensor]]:
            drawn = self._shown(number).random_shuffle(seed=self.recipe.seed + number)
            rows = drawn.limit(each * self.share * self.world)
            own = self._batches(f"after epoch {number}", rows, views, self.share)
            return (self._next(own) for _ in range(each))

        self.learner.after_epoch(some)

    def _shown(self, number: int) -> Dataset:
        """The rows to train on in an epoch, in no particular order."""
        draw = partial(shown, number=number)
        return self.task.fit.map_batches(draw, batch_size=None, batch_format="pyarrow", num_cpus=TASK_CPUS)

    def _views(self, images: Images, seed: tuple[int, ...] | None = None) -> Views:
        """The transform from rows to batches; without a seed, images are as in labelling, not augmented."""
        count = 1 if seed is None else self.recipe.views
        return Views(images, self.task.weights_K, seed, count, self.recipe.model.ages.oldest, tuple(self.task.captions))

    def _resume(self) -> None:
        """Resume from the newest checkpoint, if there is one."""
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                self.learner.load(torch.load(Path(folder) / STATE_FILE, map_location="cpu", weights_only=True))

    def _batches(
        self, name: str, rows: Dataset, views: Views, size: int, shuffle_seed: int | None = None, first: int = 0
    ) -> Iterator[dict[str, Tensor]]:
        """This worker's batches of the rows, from batch `first` on, on the device; all workers must use the same
        `name`."""
        import ray

        blocks = ray.get(self.task.dealer.deal.remote(name, rows, size, shuffle_seed))
        for made in batches(blocks[self.rank :: self.world][first:], views, _AHEAD):
            # Ray's arrays are read-only, which torch tensors cannot be.
            yield {name: torch.tensor(value, device=self.device) for name, value in made.items()}

    def _next(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        try:
            return next(batches)
        except StopIteration:
            raise JobError(f"a worker ran out of rows before step {self.steps} of an epoch: some were lost") from None

    def _teller(self) -> Teller:
        step, epochs = self.learner.step, self.recipe.epochs
        return Teller(self.task.board.say.remote, step, self.steps, epochs, self.scale.unit)

    def _note_losses(self, losses: list[dict[str, Tensor]]) -> float:
        """Log the means over all workers, one line per step; return the mean loss of these steps."""
        names = list(losses[0])
        values = torch.stack([torch.stack([parts[name] for name in names]) for parts in losses])
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        if self.folder:
            for step, row in enumerate(values.tolist(), start=self.learner.step - len(losses) + 1):
                self.folder.log({"step": step, **dict(zip(names, row, strict=True))})
        return float(values[:, names.index("loss")].mean())

    def _alone(self, images_BVHWC: Tensor) -> float:
        """Images per second of one worker while the others are idle, the baseline for scaling efficiency. 0 under FSDP,
        where no worker has the whole model."""
        rate = torch.zeros(1, device=self.device)
        if self.rank == 0 and self.recipe.strategy == "ddp":
            model = copy.deepcopy(self.learner.model)
            for number in range(_ALONE_STEPS + 1):
                if number == 1:  # the first one warms up
                    began = time.monotonic()
                pixels = self.learner.pixels(images_BVHWC)
                # Replaces the loss, part of which may wait for the other workers.
                said = model.posteriors(model.training_pass(pixels))
                torch.stack([posterior.square().sum() for posterior in said]).sum().backward()
            rate += _ALONE_STEPS * len(images_BVHWC) / (time.monotonic() - began)
        dist.broadcast(rate, src=0)
        return float(rate)

    def _measure(self) -> dict[str, float]:
        """MAE and other metrics, or group accuracies, on the `choose` rows, each of which one worker evaluates."""
        images = self.recipe.model.images
        views = self._views(images)
        own = self._batches("choose", self.task.choose, views, _MEASURE_BATCH)
        nothing = torch.zeros(1, 1, *images.shape, dtype=torch.uint8, device=self.device)
        said = [np.empty((0, 4), np.float32)]
        with self.learner.averaged(), torch.inference_mode():
            while True:
                batch = next(own, None)
                if not self._anywhere(batch is not None):
                    break
                # A worker without rows also runs the pass, because it may be a collective operation.
                estimate = self.learner.estimate(nothing if batch is None else batch["image"])
                if batch is not None:
                    truth = [batch[name] for name in ("age", "low", "high")]
                    said.append(torch.stack([estimate, *truth], dim=1).cpu().numpy())
        mine = np.concatenate(said)
        parts: list[Any] = [mine]
        if self.world > 1:
            parts = [None] * self.world
            dist.all_gather_object(parts, mine)
        estimates_N, ages_N, low_N, high_N = np.concatenate(parts).T
        return figures(estimates_N, ages_N, low_N, high_N, self.task.groups, self.scale.bands)

    def _anywhere(self, here: bool) -> bool:
        """True if `here` is true on any worker."""
        if self.world == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def _save(self, figures: dict[str, Any]) -> None:
        """Report to Ray Train, with a checkpoint that is uploaded while training continues."""
        import ray.train
        from ray.train import Checkpoint, CheckpointUploadMode

        state, checkpoint = self.learner.state(), None
        if self.folder:
            self.folder.publish()
            folder = Path(tempfile.mkdtemp(prefix="cilf-checkpoint-"))
            torch.save(state, folder / STATE_FILE)
            checkpoint = Checkpoint.from_directory(folder)
        ray.train.report(figures, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.ASYNC)


def _portions(batch: dict[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    """Split a batch into parts of equally many rows."""
    parts = {name: value.chunk(count) for name, value in batch.items()}
    return [{name: part[number] for name, part in parts.items()} for number in range(count)]
