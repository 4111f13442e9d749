"""A network while it learns: weights, their running average, optimiser and schedule, on one worker or many."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

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

from cilf.models.cilf import CILF, Output
from cilf.models.pixels import Normalise
from cilf.training.imagenet import load_lite0
from cilf.training.recipe import Recipe
from cilf.training.start import Weights

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class _Pass(nn.Module):
    """One forward pass, text tower included: what DDP and FSDP wrap, so every pass has to go through here."""

    def __init__(self, model: CILF) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels_BCHW: Tensor) -> Output:
        return self.model(pixels_BCHW, self.model.text_vectors())


class Learner:
    """Everything that changes while a network learns.

    Args:
        recipe: the run.
        device: of this worker.
        steps: optimiser steps per epoch.
        strategy: how workers share the work; None outside a process group.
        start: weights to go on from (cilf.training.start).
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        steps: int,
        strategy: Literal["ddp", "fsdp2"] | None = None,
        start: Weights | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step = recipe, device, 0
        self.model = CILF(recipe.model, deployed=start is not None, load_weights=start is None)
        if start is not None:
            self.model.load_state_dict(start)
        if recipe.image_init == "imagenet-lite0":
            load_lite0(cast(Any, self.model.image.visual).trunk)
        self.model.to(device)
        if strategy != "fsdp2":  # which takes contiguous weights only
            self.model.to(memory_format=torch.channels_last)
        self.train_mode()
        self.normalise = Normalise(recipe.model.images.mean, recipe.model.images.std).to(device)
        self.net: nn.Module = _Pass(self.model)
        if strategy == "ddp":
            self.net = nn.parallel.DistributedDataParallel(self.net)
        elif strategy == "fsdp2":
            for part in (self.model.image, self.model.text, self.net):
                if part is not None:
                    fully_shard(part)
        self.optimiser = AdamW(parameter_groups(self.model, recipe))
        self.schedule = LambdaLR(self.optimiser, lambda step: warm_cosine(step, steps, recipe.epochs * steps))
        self.average = {name: value.detach().clone() for name, value in self._learned()}

    def train_mode(self) -> None:
        """Ready to learn; what the recipe freezes stays as it is, batch statistics included."""
        self.model.train()
        if self.recipe.frozen_stages:
            freeze_stages(cast(Any, self.model.image.visual).trunk, self.recipe.frozen_stages)

    def estimate(self, images_BHWC: Tensor) -> Tensor:
        """Ages of uint8 images on the device, [B, S, S, 3] -> [B] years. Under FSDP all workers must ask at once."""
        pixels = self.normalise(images_BHWC).contiguous(memory_format=torch.channels_last)
        return self.model.ages.median(self.net(pixels).posterior_BK)

    def learn(self, portions: list[dict[str, Tensor]], first_epoch: bool) -> dict[str, Tensor]:
        """One step of the optimiser on this worker's share of a batch.

        Args:
            portions: batches of `image` uint8 [B, S, S, 3], `age` and `weight` float32 [B], on the device.
            first_epoch: the absolute error is in years, and would drown the rest while all predictions are alike.

        Returns:
            The loss and its parts, scalars of this worker.
        """
        sums: dict[str, Tensor] = {}
        for number, rows in enumerate(portions):
            self._synchronise(number == len(portions) - 1)
            pixels = self.normalise(rows["image"]).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                out = self.net(pixels)
            loss, parts = self.model.loss(out, rows["age"], rows["weight"], l1_weight=0.5 if first_epoch else 1.0)
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


def parameter_groups(model: CILF, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW groups: image tower at its share of the rate, text frozen or not, no decay on vectors and scalars."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("text.") and not recipe.train_text:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        rate = recipe.learning_rate * (recipe.image_rate if name.startswith("image.") else 1)
        decay = recipe.weight_decay if parameter.ndim > 1 and "context" not in name else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def warm_cosine(step: int, warm: int, total: int) -> float:
    """Share of the peak rate: linear over `warm` steps, then a cosine to zero at `total`."""
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
