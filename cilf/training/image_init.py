"""What an image tower starts from, where a recipe names it by `image_init`."""

from __future__ import annotations

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

FACES = 256
"""So many faces of each source, at most, settle a start that knows faces."""


def init_image(model: Network, recipe: Recipe, faces_NHWC: np.ndarray | None = None) -> None:
    """Fill the trunk of the image tower with what `image_init` names; nothing where it is null.

    Args:
        model: changed in place.
        recipe: the run.
        faces_NHWC: uint8 [N, S, S, 3], faces like those to learn from; needed before the trunk is to learn.

    Raises:
        WeightsError: weights that cannot be had, or that are of another network than the trunk.
    """
    init = recipe.image_init
    if init is None:
        return
    trunk = getattr(getattr(model.image, "visual", None), "trunk", None)
    if not isinstance(trunk, nn.Module):
        raise WeightsError("image_init is for image towers of timm's: set model.clip.architecture, or leave it out")
    if isinstance(init, FaceRes):
        images = recipe.model.images
        load_faceres(trunk, Path(init.faceres), images.mean, images.std)
        if faces_NHWC is not None:
            settle(trunk, Normalise(images)(torch.from_numpy(faces_NHWC)))
    else:
        load_lite0(trunk)
