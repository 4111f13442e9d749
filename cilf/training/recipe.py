"""What a training run is: one YAML file, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cilf.card import Model
from cilf.errors import UsageError


class Data(BaseModel):
    """Parquet with the columns `image` (encoded bytes), `age` (years), `id` and `split`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """A Parquet file or a folder of them."""
    fit: str = "train"
    """Value of `split` of the rows to learn from."""
    choose: str = "val"
    """Value of `split` of the rows that progress is measured on. Nothing is fitted to them."""


class Recipe(BaseModel):
    """One training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name of the model, as `--model` takes it."""
    summary: str
    licence: str
    data: Data
    model: Model
    image_init: Literal["imagenet-lite0"] | None = None
    """Start of the image tower where model.clip.weights is none."""
    frozen_stages: int = Field(default=0, ge=0)
    """With image_init: the stem and this many stages after it stay as they start. Edges are edges everywhere, and
    at full resolution they cost more than all the rest."""
    train_text: bool
    """Fit the text tower too: needed where it starts from nothing, wrong where it comes from CLIP."""
    epochs: int = Field(gt=0)
    batch_size: int = Field(default=64, gt=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of everything new; AdamW, one epoch of warm-up, then a cosine to zero."""
    image_rate: float = Field(default=0.1, ge=0)
    """Share of the peak rate for the image tower."""
    weight_decay: float = Field(default=0.01, ge=0)
    """On matrices only."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the ones kept. 1 / (1 - ema) steps are averaged."""
    held_out: float = Field(default=0.12, gt=0, lt=0.5)
    """Share of the `fit` rows kept from fitting, on which the correction is calibrated."""
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        UsageError: no such file, not YAML, or wrong names or values, each named.
    """
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(raw)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{path}: {problems}") from error
