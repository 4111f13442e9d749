"""What an image tower starts from, where a recipe names it by `image_init`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cilf.models.clip import WeightsError
from cilf.models.network import Network
from cilf.models.pixels import Normalise
from cilf.training.faceres import load_faceres, settle
from cilf.training.imagenet import load_lite0
from cilf.training.recipe import FaceRes, Recipe
from cilf.training.start import Weights

FACES = 256
"""So many faces of each source, at most, settle a start that knows faces."""


def init_image(model: Network, recipe: Recipe) -> None:
    """Fill the trunk of the image tower with what `image_init` names; nothing where it is null.

    Raises:
        WeightsError: weights that cannot be had, or that are of another network than the trunk.
    """
    init = recipe.image_init
    if init is None:
        return
    trunk = _trunk(model)
    if isinstance(init, FaceRes):
        images = recipe.model.images
        load_faceres(trunk, Path(init.faceres), images.mean, images.std)
    else:
        load_lite0(trunk)


def trunk_weights(model: Network, recipe: Recipe, faces: Callable[[], np.ndarray]) -> Weights | None:
    """What `init_image` has filled the trunk with, ready to learn from, for workers that may not have the file.

    Args:
        model: changed in place.
        recipe: the run.
        faces: gives uint8 [N, S, S, 3], faces like those to learn from.
    """
    if recipe.image_init is None:
        return None
    trunk = _trunk(model)
    if isinstance(recipe.image_init, FaceRes):
        settle(trunk, Normalise(recipe.model.images)(torch.from_numpy(faces())))
    return dict(trunk.state_dict())


def fill_trunk(model: Network, weights: Weights) -> None:
    """Give the image tower's trunk the weights of another one's."""
    _trunk(model).load_state_dict(weights)


def _trunk(model: Network) -> nn.Module:
    trunk = getattr(getattr(model.image, "visual", None), "trunk", None)
    if not isinstance(trunk, nn.Module):
        raise WeightsError("image_init is for image towers of timm's: set model.clip.architecture, or leave it out")
    return trunk
