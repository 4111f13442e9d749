"""The second network of a recipe: where it comes from, and the faces that its head is fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cilf.datasets.labels import OLDEST
from cilf.models.checkpoint import load_model
from cilf.models.second import SecondNetwork
from cilf.storage import model_folder
from cilf.training.epochs import Drawn, Views
from cilf.training.material import Material
from cilf.training.recipe import Recipe
from cilf.training.second import fit_second
from cilf.training.sface import load_sface
from cilf.training.sources import TASK_CPUS

FACES = 20_000
"""So many faces, on average, are shown to the second network, each twice as training sees faces: more would say little
that is new to a head of 300,000 weights, and take longer than the rest of calibration."""
_BATCH = 64
_DRAW = 1_000_003
"""Stands for the number of the epoch in the seed of augmentation, which no epoch has."""


def second_network(recipe: Recipe) -> SecondNetwork | None:
    """The network that the recipe names, with a head that has learned nothing; else that of its start; else None.

    Raises:
        WeightsError: weights that cannot be had, or that are of another network.
    """
    if recipe.second is not None:
        network = SecondNetwork(recipe.model.images, recipe.model.ages.space)
        network.sface.load_state_dict(load_sface(Path(recipe.second.sface)).state_dict())
        return network.eval()
    return None if recipe.start is None else load_model(model_folder(recipe.start)).second


def fit_head(network: SecondNetwork, recipe: Recipe, material: Material, device: torch.device) -> None:
    """Fit the head to faces that the first network learns from, in place."""
    share = min(1.0, FACES / max(1, len(material.fitted)))
    images = recipe.model.images
    views = Views(images, np.ones(OLDEST + 1, np.float32), (recipe.seed, _DRAW), 2, material.oldest)
    batches = _batches(material, Drawn(share), views, device)
    fit_second(network.to(device).to(memory_format=torch.channels_last), images, batches, recipe.seed, recipe.dtype)


def _batches(material: Material, drawn: Drawn, views: Views, device: torch.device) -> Iterator[dict[str, Tensor]]:
    task: dict[str, Any] = {"batch_format": "pyarrow", "num_cpus": TASK_CPUS}
    rows = material.fit.map_batches(drawn, batch_size=None, **task).map_batches(views, batch_size=_BATCH, **task)
    return iter(rows.iter_torch_batches(batch_size=_BATCH, device=device))
