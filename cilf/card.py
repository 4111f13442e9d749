"""`model.json`: what a model is, how it was made and how well it does. Read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from cilf.models.settings import SystemSettings

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Ages(_Frozen):
    """The classes the model speaks of; see cilf.ages.AgeSpace."""

    youngest: int = 0
    oldest: int = 100


class Clip(_Frozen):
    """A CLIP backbone, named as open_clip names it."""

    architecture: str | dict[str, Any] = "ViT-B-16"
    """A name open_clip knows, or the contents of one of its architecture files."""
    weights: str | None = None
    """An open_clip tag, a local file (open_clip or OpenAI layout), or none: random, to be trained."""


Point = tuple[float, float]


class Frame(_Frozen):
    """Where a face is in a crop, as cilf.images.detector finds it; in sides of the crop, from its upper left corner.

    The default is measured on 500 of UTKFace's aligned crops and a twentieth tighter, which makes the smallest errors
    on faces in photographs (docs/results/framing.md); its halves are alike, as faces are.
    """

    eyes: tuple[Point, Point] = ((0.292, 0.286), (0.708, 0.286))
    """The one on the left in the image first."""
    nose: Point = (0.5, 0.518)
    mouth: tuple[Point, Point] = ((0.327, 0.704), (0.673, 0.704))
    """Its corners."""
    box: float = Field(default=0.997, gt=0)
    """Mean of width and height of the face's box."""

    @property
    def points(self) -> tuple[Point, ...]:
        """All five, in the detector's order."""
        return (*self.eyes, self.nose, *self.mouth)


class Images(_Frozen):
    """What the model sees: square uint8 crops, normalised on the device."""

    size: int = Field(default=224, ge=16)
    """Side of the square input, pixels."""
    frame: Frame = Frame()
    """How the crops were cut that it was trained on; a face in a photograph is cut out alike."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Per channel, after scaling to 0..1. The default is CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class Prompts(_Frozen):
    """The age prompts and how the image may change them."""

    templates: tuple[str, ...] = Field(
        default=(
            "a photo of a {age} year old person",
            "a {age}-year-old face",
            "the age of this person is {age}",
        ),
        min_length=1,
    )
    """Averaged in text space; `{age}` is replaced."""
    numbers: Literal["digits", "words"] = "digits"
    """How an age is spelled in a template."""
    context: int = Field(default=0, ge=0)
    """Learned context tokens put before each prompt (CoOp); 0 for none."""
    conditioned: bool = False
    """Post-model context-aware prompting: text vectors adjusted by each image (DenseCLIP)."""


class Fourier(_Frozen):
    """The FourierFormer."""

    mixer: Literal["fpe", "amplitude_phase", "gfnet", "attention", "conv"] = "fpe"
    depth: int = Field(default=4, ge=0)
    """Blocks."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Share of rows for which a block's branch is skipped in training."""
    film: bool = True
    """Text fusion: each image's text message scales and shifts the mixer's channels."""


class Model(_Frozen):
    """Everything that builds the network; together with the weights it determines every number.

    `prompts`, `fourier` and `dropout` are CILF-CIAE's alone.
    """

    system: SystemSettings | None = None
    """Another system of the field, and how it is set; none: CILF-CIAE."""
    ages: Ages = Ages()
    clip: Clip = Clip()
    images: Images = Images()
    prompts: Prompts = Prompts()
    fourier: Fourier = Fourier()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the head's hidden units left out in training."""
    mirrored: bool = False
    """Each view of an image counts together with its mirror image, the mean of both posteriors: twice the work for
    a smaller error than a network of twice the size would give."""

    @model_serializer(mode="wrap")
    def _as_ever(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Fingerprints are over this: those of CILF-CIAE are older than `system`, and stay.
        said = serialise(self)
        if self.system is None:
            said.pop("system", None)
        return said


class Card(_Frozen):
    """A whole `model.json`."""

    format: Literal[1] = 1
    name: str
    summary: str
    licence: str
    model: Model
    correction: dict[str, Any] | None = None
    """Calibrated constants of the corrector; see cilf.models.corrector. None: not calibrated."""
    training: dict[str, Any] = {}
    """Data, recipe and environment."""
    figures: dict[str, Any] = {}
    """Measured results, each with what it was measured on."""


class ModelFolderError(ValueError):
    """A folder is not a model, or not one this version can read."""


def read_card(folder: Path) -> Card:
    """The card of a model folder.

    Raises:
        ModelFolderError: the folder holds no model, or its card does not fit this version.
    """
    missing = [name for name in (CARD_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(f"{folder} is not a model folder: it has no {' and no '.join(missing)}")
    try:
        return Card.model_validate(json.loads((folder / CARD_FILE).read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        raise ModelFolderError(f"{folder / CARD_FILE} cannot be read: {error}") from error


def write_card(card: Card, folder: Path) -> None:
    """Write `card` as the folder's `model.json`."""
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
