"""Settings of each published system. Free of torch, so that code that reads a model's card need not import it.

`SystemSettings` is their union, discriminated by `system`. Defaults are the papers' unless a comment says "ours".
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
    """Width of Gaussian label distributions, years; null for one class per face, as published."""
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
    """Width of a layer before the shared weights, 0 for none. Frozen features need it, because ages need not be in
    order along a single direction of them."""


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
    """Outputs of the last layer, which the trees' splits are assigned to."""
    loss: Literal["l2", "likelihood"] = "l2"
    """l2 is the loss of the authors' code, likelihood that of the paper."""
    steps: int = Field(default=20, ge=1)
    """EM steps per leaf update."""
    seed: int = 0
    """Seed for assigning units to splits, and for the order of the initial leaves."""

    @property
    def leaves(self) -> int:
        """Number of leaves of each tree."""
        return 2 ** (self.depth - 1)

    @model_validator(mode="after")
    def _enough_units(self) -> RegressionForest:
        if self.units < self.leaves - 1:
            raise ValueError(
                f"a tree of depth {self.depth} has {self.leaves - 1} splits, and each needs its own unit, but units is "
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
    """Widths of the first stage, which includes the stem, and of the others. Layers, widths and heads default to
    VOLO-D1."""
    heads: tuple[int, int] = (6, 12)

    @model_validator(mode="after")
    def _divides(self) -> MiVolo:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if heads < 1 or width < 1 or width % heads:
                raise ValueError(f"a width of {width} does not divide into {heads} heads")
        if min(self.layers) < 1:
            raise ValueError(f"every stage needs at least one layer, got {self.layers}")
        return self


class PlainClip(_Frozen):
    """cilf.models.plain_clip."""

    system: Literal["clip"] = "clip"


AGE_CONTEXT = "age estimation: the age of the person is"
"""The context that OrdinalCLIP publishes."""


class OrdinalClip(_Frozen):
    """cilf.models.ordinalclip."""

    system: Literal["ordinalclip"] = "ordinalclip"
    context: str = Field(default=AGE_CONTEXT, min_length=1)
    """Text that the learned context is initialised from."""
    bases: int = Field(default=5, ge=2)  # ours; published: 3
    """Number of base rank embeddings."""
    interpolation: Literal["linear", "inverse", "hat"] = "linear"
    scale: float = Field(default=100.0, gt=0)
    """1 / τ; the default is CLIP's."""


class L2rClip(_Frozen):
    """cilf.models.l2rclip. Depth, heads, pair_weight and first_stage are ours, because the sources give no number."""

    system: Literal["l2rclip"] = "l2rclip"
    context: str = Field(default=AGE_CONTEXT, min_length=1)
    """Text that the learned context is initialised from."""
    words: tuple[str, ...] | None = None
    """The name of each rank in its prompt; null for its name in model.ages, or its number in words."""
    depth: int = Field(default=1, ge=1)
    """Number of RankFormer layers."""
    heads: int = Field(default=8, ge=1)
    pair_weight: float = Field(default=0.1, ge=0)
    first_stage: float = Field(default=0.5, ge=0, le=1)
    """Share of training in which the text side is trained; the image side is trained in the rest."""
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
