"""`model.json`, the card of a model: what it is, how it was made and how well it performs. Read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from cilf.age_space import AgeSpace
from cilf.models.settings import AGE_CONTEXT, L2rClip, MiVolo, OrdinalClip, PlainClip, SystemSettings

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class _Grown(_Frozen):
    """Settings with fields that were added after the first fingerprints: `later` names them, and they are not written
    while they have their defaults, so that earlier fingerprints stay valid."""

    later: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _as_ever(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        silent = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in serialise(self).items() if name not in silent}


class Ages(_Grown):
    """The age classes of the model; see cilf.age_space.AgeSpace."""

    later = ("names",)

    youngest: int = 0
    oldest: int = 100
    names: tuple[str, ...] | None = None
    """Names of the classes, in order, if they are not ages but ranks of another kind: 1930s, 1940s ... Prompts then
    contain the name. null: ages in years."""

    @property
    def space(self) -> AgeSpace:
        """The classes as an AgeSpace, which has their arithmetic."""
        return AgeSpace(self.youngest, self.oldest, self.names)

    @model_validator(mode="after")
    def _fits(self) -> Ages:
        _ = self.space  # which validates them
        return self


class Clip(_Grown):
    """A CLIP backbone, named as open_clip names it."""

    later = ("stages",)

    architecture: str | dict[str, Any] = "ViT-B-16"
    """A name open_clip knows, or the contents of one of its architecture files."""
    stages: int | None = Field(default=None, ge=1)
    """Number of stages of its convolutional timm trunk that the image tower keeps, in an architecture of your own;
    CILF-CIAE's FourierFormer then replaces the others. null: the whole tower."""
    weights: str | None = None
    """An open_clip tag or a local file (open_clip or OpenAI layout). null: random weights, to be trained."""


Point = tuple[float, float]


class Frame(_Frozen):
    """Position of a face in its crop, as cilf.images.detector finds it; in sides of the crop, from its upper left
    corner.

    The default was measured on 500 of UTKFace's aligned crops and made a twentieth tighter, which gives the smallest
    errors on faces in photographs (docs/results/framing.md); it is symmetric, as faces are.
    """

    eyes: tuple[Point, Point] = ((0.292, 0.286), (0.708, 0.286))
    """The eye on the left in the image comes first."""
    nose: Point = (0.5, 0.518)
    mouth: tuple[Point, Point] = ((0.327, 0.704), (0.673, 0.704))
    """The corners of the mouth."""
    box: float = Field(default=0.997, gt=0)
    """Mean of the width and height of the face's bounding box."""

    @property
    def points(self) -> tuple[Point, ...]:
        """All five landmarks, in the detector's order."""
        return (*self.eyes, self.nose, *self.mouth)


class Images(_Grown):
    """The input of the model: square uint8 crops, normalised on the device."""

    later = ("body",)

    size: int = Field(default=224, ge=16)
    """Side of the square input, pixels."""
    frame: Frame = Frame()
    """Framing of the crops that the model was trained on; a face in a photograph is cut out the same way."""
    body: bool = False
    """Whether the input also has the body below each face, in three further channels; see cilf.images.body."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Per channel, after scaling to 0..1. The default is CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def channels(self) -> int:
        """Number of channels of a crop: the colours of the face, and those of the body."""
        return 6 if self.body else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a crop, [S, S, C]."""
        return self.size, self.size, self.channels


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
    """Averaged in text space; `{age}` is replaced by the age, or by the class's name if it has one."""
    numbers: Literal["digits", "words"] = "digits"
    """Spelling of ages in a template; names are inserted as they are."""
    context: int = Field(default=0, ge=0)
    """Learned context tokens put before each prompt (CoOp); 0 for none."""
    conditioned: bool = False
    """Post-model context-aware prompting: text vectors adjusted by each image (DenseCLIP)."""

    @field_validator("templates")
    @classmethod
    def _holds_an_age(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if "{age}" not in template or set("{}") & set(template.replace("{age}", "")):
                raise ValueError(f"a template must contain {{age}} and no other braces, got {template!r}")
        return templates


class Fourier(_Frozen):
    """The FourierFormer."""

    mixer: Literal["fpe", "amplitude_phase", "gfnet", "attention", "conv"] = "fpe"
    depth: int = Field(default=4, ge=0)
    """Number of blocks."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Share of rows for which a block's branch is skipped in training."""
    film: bool = True
    """Text fusion: each image's text message scales and shifts the mixer's channels."""


class Model(_Grown):
    """The settings that build the network; together with the weights they determine every number.

    `fourier` and `dropout` apply to CILF-CIAE only, and `prompts` to CILF-CIAE and the system `clip` only.
    """

    later = ("system",)

    system: SystemSettings | None = None
    """Another age estimation system and its settings; null: CILF-CIAE."""
    ages: Ages = Ages()
    clip: Clip = Clip()
    images: Images = Images()
    prompts: Prompts = Prompts()
    fourier: Fourier = Fourier()
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the head's hidden units left out in training."""
    mirrored: bool = False
    """Whether the posterior of each view of an image is averaged with that of its mirror image: twice the work, for
    a smaller error than a network of twice the size would give."""

    @model_validator(mode="after")
    def _looks_at_bodies(self) -> Model:
        if self.images.body and not isinstance(self.system, MiVolo):
            raise ValueError("images.body: only the system mivolo looks at bodies; leave `body` out")
        return self

    @model_validator(mode="after")
    def _speaks_of_names(self) -> Model:
        if self.ages.names is not None:
            system, prompts = self.system, self.prompts
            if isinstance(system, OrdinalClip | L2rClip) and system.context == AGE_CONTEXT:
                raise ValueError(
                    "system.context is about ages, but ages.names are other ranks: give the words that come before a "
                    "name, for example 'a photo taken in the'"
                )
            if system is None or isinstance(system, PlainClip):
                if prompts.templates == Prompts().templates:
                    raise ValueError(
                        "prompts.templates are about ages, but ages.names are other ranks: give templates for them, "
                        "for example 'a photo taken in the {age}'"
                    )
                if prompts.numbers == "words":
                    raise ValueError("prompts.numbers: ages.names are inserted as they are; leave `numbers` out")
        return self


class Card(_Frozen):
    """A whole `model.json`."""

    format: Literal[1, 2] = 2
    """2: the posterior of CILF-CIAE is an image's similarity to the prompts. 1: the card of CILF-CIAE's earlier
    network, or of another system."""
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
    """A folder is not a model folder, or not one that this version can read."""


def read_card(folder: Path) -> Card:
    """The card of a model folder.

    Raises:
        ModelFolderError: the folder holds no model, or its card does not fit this version.
    """
    missing = [name for name in (CARD_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(f"{folder} is not a model folder: it has no {' and no '.join(missing)}")
    try:
        given = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        if _is_earlier(given):
            raise ModelFolderError(
                f"{folder} holds a CILF-CIAE model from an earlier version of CILF, which used another network: train "
                "it again, or label with the version that made it"
            )
        return Card.model_validate(given)
    except ModelFolderError:
        raise
    except (ValidationError, ValueError) as error:
        raise ModelFolderError(f"{folder / CARD_FILE} cannot be read: {error}") from error


def _is_earlier(card: Any) -> bool:
    return isinstance(card, dict) and card.get("format") == 1 and not (card.get("model") or {}).get("system")


def write_card(card: Card, folder: Path) -> None:
    """Write `card` as the folder's `model.json`."""
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
