"""Initial weights of the image tower, if a recipe sets `image_init`."""

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
"""Maximum number of faces of each source whose statistics the batch norms of faceres are set to."""


def init_image(model: Network, recipe: Recipe) -> None:
    """Fill the trunk of the image tower with the weights that `image_init` names; do nothing if it is null.

    Raises:
        WeightsError: the weights are not available, or are of another network than the trunk.
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
    """The trunk's weights after `init_image`, ready for training, for workers that may not have the file.

    Args:
        model: changed in place.
        recipe: the recipe of the run.
        faces: returns faces like those to train on, uint8 [N, S, S, 3].
    """
    if recipe.image_init is None:
        return None
    trunk = _trunk(model)
    if isinstance(recipe.image_init, FaceRes):
        settle(trunk, Normalise(recipe.model.images)(torch.from_numpy(faces())))
    return dict(trunk.state_dict())


def fill_trunk(model: Network, weights: Weights) -> None:
    """Load the weights of another image tower's trunk into the trunk."""
    _trunk(model).load_state_dict(weights)


def _trunk(model: Network) -> nn.Module:
    trunk = getattr(getattr(model.image, "visual", None), "trunk", None)
    if not isinstance(trunk, nn.Module):
        raise WeightsError("image_init needs an image tower of timm's: set model.clip.architecture, or leave it out")
    return trunk
