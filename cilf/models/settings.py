"""What each system of the field can be set to. Read without torch, so that a model's card can hold them.

`SystemSettings` is their union, told apart by `system`. Defaults are the papers' unless a comment says they are ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Regression(_Frozen):
    """cilf.models.regression."""

    system: Literal["regression"] = "regression"
    loss: Literal["l1", "smooth_l1"] = "l1"


class Dex(_Frozen):
    """cilf.models.dex."""

    system: Literal["dex"] = "dex"
    label_sigma: float | None = Field(default=None, gt=0)
    """Width of Gaussian label distributions, years; null: one class per face, as published."""
    mean_variance: bool = False
    """Add the mean-variance loss."""


class MeanResidue(_Frozen):
    """cilf.models.mean_residue."""

    system: Literal["mean_residue"] = "mean_residue"
    mean_weight: float = Field(default=0.2, ge=0)
    residue_weight: float = Field(default=0.05, ge=0)


class Coral(_Frozen):
    """cilf.models.coral."""

    system: Literal["coral"] = "coral"
    hidden: int = Field(default=0, ge=0)
    """Width of a layer before the shared weights, 0 for none. Frozen features need one: on a single line through them
    ages need not be in order."""


class Corn(_Frozen):
    """cilf.models.corn."""

    system: Literal["corn"] = "corn"


class RegressionForest(_Frozen):
    """cilf.models.regression_forest."""

    system: Literal["regression_forest"] = "regression_forest"
    trees: int = Field(default=5, ge=1)
    depth: int = Field(default=6, ge=2, le=12)
    """Levels of a tree, leaves included: 2^(depth - 1) leaves."""
    units: int = Field(default=128, ge=1)
    """Outputs of the last layer that the trees' splits draw from."""
    loss: Literal["l2", "likelihood"] = "l2"
    """As in the authors' code, or as in the paper."""
    steps: int = Field(default=20, ge=1)
    """EM steps of a leaf update."""
    seed: int = 0
    """Which unit is which split."""

    @property
    def leaves(self) -> int:
        """Of each tree."""
        return 2 ** (self.depth - 1)

    @model_validator(mode="after")
    def _enough_units(self) -> RegressionForest:
        if self.units < self.leaves - 1:
            raise ValueError(
                f"a tree of depth {self.depth} has {self.leaves - 1} splits, each on a unit of its own, and units is "
                f"{self.units}"
            )
        return self


class SwinFace(_Frozen):
    """cilf.models.swinface."""

    system: Literal["swinface"] = "swinface"
    width: int = Field(default=512, ge=16)
    """Channels of all levels together, and of the layers after them."""
    dropout: float = Field(default=0.5, ge=0, lt=1)


class MiVolo(_Frozen):
    """cilf.models.mivolo."""

    system: Literal["mivolo"] = "mivolo"
    layers: tuple[int, int, int, int] = (4, 4, 8, 2)
    widths: tuple[int, int] = (192, 384)
    """Of the first stage, which is the stem's, and of the others. Defaults here and around: VOLO-D1."""
    heads: tuple[int, int] = (6, 12)

    @model_validator(mode="after")
    def _divides(self) -> MiVolo:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if heads < 1 or width < 1 or width % heads:
                raise ValueError(f"a width of {width} does not divide into {heads} heads")
        if min(self.layers) < 1:
            raise ValueError(f"every stage needs a layer, got {self.layers}")
        return self


class PlainClip(_Frozen):
    """cilf.models.plain_clip."""

    system: Literal["clip"] = "clip"


AGE_CONTEXT = "age estimation: the age of the person is"
"""Published by OrdinalCLIP."""


class OrdinalClip(_Frozen):
    """cilf.models.ordinalclip."""

    system: Literal["ordinalclip"] = "ordinalclip"
    context: str = Field(default=AGE_CONTEXT, min_length=1)
    """What the learned context starts from."""
    bases: int = Field(default=5, ge=2)  # ours; published: 3
    """Base rank embeddings."""
    interpolation: Literal["linear", "inverse", "hat"] = "linear"
    scale: float = Field(default=100.0, gt=0)
    """1 / τ; the default is CLIP's."""


class L2rClip(_Frozen):
    """cilf.models.l2rclip. Where no number stands in the sources, it is ours: depth, heads, weight, first_stage."""

    system: Literal["l2rclip"] = "l2rclip"
    context: str = Field(default=AGE_CONTEXT, min_length=1)
    """What the learned context starts from."""
    words: tuple[str, ...] | None = None
    """What each rank is called in its prompt; null: by its name in model.ages, or its number in words."""
    depth: int = Field(default=1, ge=1)
    """RankFormer layers."""
    heads: int = Field(default=8, ge=1)
    pair_weight: float = Field(default=0.1, ge=0)
    first_stage: float = Field(default=0.5, ge=0, le=1)
    """Share of training in which the text side learns; in the rest, the image side does."""
    scale: float = Field(default=100.0, gt=0)
    """1 / τ; the default is CLIP's."""


SystemSettings = Annotated[
    Regression
    | Dex
    | MeanResidue
    | Coral
    | Corn
    | RegressionForest
    | SwinFace
    | MiVolo
    | PlainClip
    | OrdinalClip
    | L2rClip,
    Field(discriminator="system"),
]
