"""The training loop: one process, data in memory. Labelled faces and a recipe in, a network out."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from cilf.datasets.faces import Faces, read_faces
from cilf.evaluation.metrics import summarise
from cilf.models.cilf import CILF
from cilf.models.pixels import Normalise
from cilf.training.augment import augment
from cilf.training.calibrate import correction_table
from cilf.training.imagenet import load_lite0
from cilf.training.recipe import Recipe

logger = logging.getLogger(__name__)

# Decoded a little larger than the model's input, so that random crops keep their pixels.
_MARGIN = 1.15


def fit(recipe: Recipe, folder: Path) -> CILF:
    """Fit a network as `recipe` says and return it; `metrics.jsonl` in `folder` gets a line per epoch.

    The weights are the averaged ones after the last epoch. Progress is measured on the `choose` split, but nothing
    stops or picks by it, so figures on that split are no better than on unseen faces.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = recipe.model.images.size
    faces = read_faces(recipe.data.path, recipe.data.fit, round(size * _MARGIN))
    fitted = faces.take(split_rows(len(faces), recipe.held_out, recipe.seed)[0])
    chosen = read_faces(recipe.data.path, recipe.data.choose, size)

    model = CILF(recipe.model)
    if recipe.image_init == "imagenet-lite0":
        load_lite0(cast(Any, model.image.visual).trunk)
    model.to(device).to(memory_format=torch.channels_last)
    normalise = Normalise(recipe.model.images.mean, recipe.model.images.std).to(device)
    averaged = ModelEmaV3(model, decay=recipe.ema)
    optimiser = AdamW(parameter_groups(model, recipe))
    steps = len(fitted) // recipe.batch_size
    schedule = LambdaLR(optimiser, lambda step: warm_cosine(step, steps, recipe.epochs * steps))

    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as metrics:
        for epoch in range(recipe.epochs):
            started, losses = time.monotonic(), []
            model.train()
            if recipe.image_init:
                freeze_stages(cast(Any, model.image.visual).trunk, recipe.frozen_stages)
            order = torch.randperm(len(fitted), generator=generator)
            for rows in order[: steps * recipe.batch_size].split(recipe.batch_size):
                images = torch.from_numpy(fitted.images_NHWC[rows.numpy()]).to(device)
                ages_B = torch.from_numpy(fitted.ages_N[rows.numpy()]).to(device)
                views = augment(images.permute(0, 3, 1, 2).float() / 255, size, generator)
                pixels = normalise.standardise(views).to(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    out = model(pixels, model.text_vectors())
                # The absolute error is in years and would drown the rest while all predictions are alike.
                loss, parts = model.loss(out, ages_B, l1_weight=0.5 if epoch == 0 else 1.0)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                averaged.update(model)
                losses.append({"loss": loss.detach(), **parts})
            seconds = time.monotonic() - started
            means = {name: float(torch.stack([row[name] for row in losses]).mean()) for name in losses[0]}
            averaged.module.cache_text()
            table = correction_table(averaged.module.eval(), chosen, max_views=1)
            estimates_N = model.ages.median(table.predictions.probs_BVK[:, 0]).cpu().numpy()
            result = summarise(estimates_N, chosen.ages_N)
            line = {"epoch": epoch + 1, **means, **result, "images_per_s": steps * recipe.batch_size / seconds}
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            logger.info(
                "epoch %d of %d: loss %.3f, MAE %.2f years on %s, %.0f images/s",
                *(epoch + 1, recipe.epochs, means["loss"], result["mae"], recipe.data.choose, line["images_per_s"]),
            )
    return averaged.module


def held_out_faces(recipe: Recipe) -> Faces:
    """The faces that `fit` has kept back, as the model sees them in labelling."""
    faces = read_faces(recipe.data.path, recipe.data.fit, recipe.model.images.size)
    return faces.take(split_rows(len(faces), recipe.held_out, recipe.seed)[1])


def split_rows(total: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to fit on and to hold out, the same for the same seed."""
    order = np.random.default_rng(seed).permutation(total)
    held = round(total * held_out)
    return np.sort(order[held:]), np.sort(order[:held])


def freeze_stages(trunk: Any, stages: int) -> None:
    """Hold a timm EfficientNet's stem and first `stages` stages, batch statistics included; undone by `train()`."""
    if stages:
        for part in (trunk.conv_stem, trunk.bn1, *trunk.blocks[:stages]):
            part.eval().requires_grad_(False)


def parameter_groups(model: CILF, recipe: Recipe) -> list[dict[str, object]]:
    """AdamW groups: image tower at its share of the rate, text frozen or not, no decay on vectors and scalars."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("text.") and not recipe.train_text:
            parameter.requires_grad_(False)
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
