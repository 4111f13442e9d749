"""What an image tower starts from, where a recipe names it by `image_init`."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cilf.models.clip import WeightsError
from cilf.models.network import Network
from cilf.training.faceres import load_faceres
from cilf.training.imagenet import load_lite0
from cilf.training.recipe import FaceRes, Recipe


def init_image(model: Network, recipe: Recipe) -> None:
    """Fill the trunk of the image tower with what `image_init` names; nothing where it is null.

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
    else:
        load_lite0(trunk)
