"""A network while it learns: weights, their running average, optimiser and schedule, on one worker or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from cilf.models.evidence import decode_age
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.models.system import Labels, Step
from cilf.models.systems import build_network
from cilf.training.decay import decays
from cilf.training.epochs import TAUGHT
from cilf.training.image_init import fill_trunk
from cilf.training.recipe import Recipe
from cilf.training.start import Weights

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class _Pass(nn.Module):
    """One pass, text tower included: what DDP and FSDP wrap, so every pass has to go through here.

    The loss is part of it, as some losses reach only a part of the parameters, and DDP looks for those from what
    comes out here.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels_BCHW: Tensor, rows: dict[str, Tensor] | None = None, step: Step | None = None) -> Any:
        """Posteriors [B, K]; of labelled rows at a step of training, the loss and its parts instead."""
        if rows is None or step is None:
            return self.model.posteriors(self.model.training_pass(pixels_BCHW))[0]
        labels = labels_of(rows, len(pixels_BCHW))
        out = self.model.training_pass(pixels_BCHW, labels)
        with torch.autocast(pixels_BCHW.device.type, enabled=False):
            return self.model.loss(out, labels, step)


def labels_of(rows: dict[str, Tensor], images: int) -> Labels:
    """The labels of a batch whose rows have equally many views each, one after the other: of all `images`."""
    views = images // len(rows["age"])

    def of(name: str) -> Tensor:
        return rows[name].repeat_interleave(views, dim=0)

    taught_BK = of(TAUGHT) if TAUGHT in rows else None
    return Labels(of("age"), of("low"), of("high"), of("weight"), of("caption"), views, taught_BK)


Batches = Callable[[], Iterable[dict[str, Tensor]]]
"""Makes batches as cilf.training.epochs.Views does, the same ones each time."""


class Learner:
    """Everything that changes while a network learns.

    Args:
        recipe: the run.
        device: of this worker.
        steps: optimiser steps per epoch.
        strategy: how workers share the work; None outside a process group.
        start: weights to go on from (cilf.training.start).
        ages_N: float32, years, of all rows to learn from; None: the network starts without having heard of them.
        captions: what the rows' `caption` counts.
        trunk: weights that the image tower's trunk starts from (cilf.training.image_init).
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        steps: int,
        strategy: Literal["ddp", "fsdp2"] | None = None,
        start: Weights | None = None,
        ages_N: np.ndarray | None = None,
        captions: Sequence[str] = (),
        trunk: Weights | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step = recipe, device, 0
        self.total = recipe.epochs * steps
        self.model = build_network(recipe.model, deployed=start is not None, load_weights=start is None)
        if start is not None:
            self.model.load_state_dict(start)
        elif ages_N is not None:
            self.model.start_from(torch.tensor(ages_N))
        if trunk is not None:
            fill_trunk(self.model, trunk)
        self.model.to(device)
        self.model.read_captions(captions)
        if strategy != "fsdp2":  # which takes contiguous weights only
            self.model.to(memory_format=torch.channels_last)
        self.train_mode()
        if (text := self.model.text_tower()) is not None:
            text.requires_grad_(recipe.train_text)  # before DDP, which counts on every parameter that learns
        self.normalise = Normalise(recipe.model.images).to(device)
        self.net: nn.Module = _Pass(self.model)
        if strategy == "ddp":
            self.net = nn.parallel.DistributedDataParallel(self.net, find_unused_parameters=self.model.rests)
        elif strategy == "fsdp2":
            for part in (self.model.image, text, self.net):
                if part is not None:
                    fully_shard(part)
        self.optimiser = AdamW(parameter_groups(self.model, recipe))
        self.schedule = LambdaLR(self.optimiser, lambda step: warm_cosine(step, steps, self.total))
        self.average = {name: value.detach().clone() for name, value in self._learned()}

    def train_mode(self) -> None:
        """Ready to learn; what the recipe freezes stays as it is, batch statistics included."""
        self.model.train()
        if self.recipe.frozen_stages:
            freeze_stages(cast(Any, self.model.image.visual).trunk, self.recipe.frozen_stages)

    def estimate(self, images_BVHWC: Tensor) -> Tensor:
        """Ages of uint8 images on the device, [B, 1, S, S, C] -> [B] years. Under FSDP all workers must ask at once."""
        return decode_age(self.net(self.pixels(images_BVHWC)), self.model.ages, self.model.decode)

    def learn(self, portions: list[dict[str, Tensor]], first_epoch: bool) -> dict[str, Tensor]:
        """One step of the optimiser on this worker's share of a batch.

        Args:
            portions: batches as cilf.training.epochs.Views makes them, on the device.
            first_epoch: whether all predictions are still alike.

        Returns:
            The loss and its parts, scalars of this worker.
        """
        sums: dict[str, Tensor] = {}
        at = Step(self.step, self.total, first_epoch)
        for number, rows in enumerate(portions):
            self._synchronise(number == len(portions) - 1)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                loss, parts = self.net(self.pixels(rows["image"]), rows, at)
            (loss / len(portions)).backward()
            for name, value in {"loss": loss.detach(), **parts}.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value / len(portions)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.schedule.step()
        self.step += 1
        with torch.no_grad():
            for name, value in self._learned():
                held = self.average[name]
                if value.is_floating_point():
                    # Less of the past while there is little of it, or the start would weigh on the first epochs.
                    decay = min(self.recipe.ema, self.step / (self.step + 9))
                    held.lerp_(value.to(held.dtype), 1 - decay)
                else:
                    held.copy_(value)
        return sums

    def after_epoch(self, batches: Batches) -> None:
        """Let the network learn what no gradient teaches it, with its weights as they are and with the averaged ones.

        Args:
            batches: of the network's `rows_after_epoch`.
        """
        self.model.eval()
        self.model.after_epoch(self._shown(batches))
        self.train_mode()
        with self.averaged():
            self.model.after_epoch(self._shown(batches))
            average = {name: value.detach().clone() for name, value in self._learned()}
        self.average = average

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Estimate with the averaged weights, in eval mode."""
        kept = {name: value.detach().clone() for name, value in self._learned()}
        try:
            self._fill(self.average)
            self.model.eval()
            yield
        finally:
            self._fill(kept)
            self.train_mode()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as whole tensors on the CPU. Every worker must ask; all get the same."""
        average = {name: _whole(value).cpu() for name, value in self.average.items()}
        return {
            "step": self.step,
            "model": get_model_state_dict(self.model, options=_WHOLE),
            "optimiser": get_optimizer_state_dict(self.model, self.optimiser, options=_WHOLE),
            "schedule": self.schedule.state_dict(),
            "average": average,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, of any number of workers."""
        set_model_state_dict(self.model, state["average"], options=_WHOLE)
        self.average = {name: value.detach().clone() for name, value in self._learned()}
        set_model_state_dict(self.model, state["model"], options=_WHOLE)
        set_optimizer_state_dict(self.model, self.optimiser, state["optimiser"], options=_WHOLE)
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]

    def pixels(self, images_BVHWC: Tensor) -> Tensor:
        """What the network sees of uint8 images on the device, [B, V, S, S, C] -> float32 [B * V, C, S, S]."""
        return self.normalise(images_BVHWC.flatten(0, 1)).contiguous(memory_format=torch.channels_last)

    def _shown(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        return ((self.pixels(rows["image"]), rows["age"]) for rows in batches())

    def _learned(self) -> list[tuple[str, Tensor]]:
        """Parameters and batch statistics by name, sharing memory with the network: shards under FSDP."""
        return list(self.model.state_dict().items())

    @torch.no_grad()
    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, value in self._learned():
            value.copy_(values[name])

    def _synchronise(self, last: bool) -> None:
        """Gradients meet once per step, with the last portion."""
        if isinstance(self.net, nn.parallel.DistributedDataParallel):
            self.net.require_backward_grad_sync = last
        elif isinstance(self.net, FSDPModule):
            self.net.set_requires_gradient_sync(last)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def freeze_stages(trunk: Any, stages: int) -> None:
    """Hold a timm EfficientNet's stem and first `stages` stages, batch statistics included; undone by `train()`."""
    for part in (trunk.conv_stem, trunk.bn1, *trunk.blocks[:stages]):
        part.eval().requires_grad_(False)


def parameter_groups(model: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW groups: image tower at its share of the rate, decay where cilf.training.decay has it."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = recipe.learning_rate * (recipe.image_rate if name.startswith("image.") else 1)
        part, _, own = name.rpartition(".")
        decay = recipe.weight_decay if decays(model.get_submodule(part), own, parameter) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def warm_cosine(step: int, warm: int, total: int) -> float:
    """Share of the peak rate: linear over `warm` steps, then a cosine to zero at `total`."""
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
