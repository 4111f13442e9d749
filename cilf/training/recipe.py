"""What a training run is: one YAML file, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cilf.card import Images, Model
from cilf.errors import UsageError
from cilf.models.settings import MiVolo, PlainClip
from cilf.training.defaults import changed, filled

if TYPE_CHECKING:
    import torch


def _entry(given: Any) -> Any:
    """A path by itself is the entry that has nothing else."""
    return {"path": given} if isinstance(given, str) else given


def entries(given: Any) -> list[Any]:
    """The sources of a recipe's `data`, which may be written as one entry or as a path."""
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _by_text(given: Any) -> Any:
    """YAML reads 0 as a number; values of columns are compared as text."""
    return {str(value): word for value, word in given.items()} if isinstance(given, dict) else given


Meanings = Annotated[dict[str, str], BeforeValidator(_by_text)]


class Words(BaseModel):
    """What the values of two columns mean in words, for captions. A value that is not listed is left out of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gender: Meanings = {}
    """Values of the column `gender`, or where there is none `sex`: nouns, such as {0: man, 1: woman}."""
    race: Meanings = {}
    """Values of the column `race`: adjectives, such as {0: White, 1: Black}."""


class Source(BaseModel):
    """Labelled photographs: see cilf.training.sources for the layouts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """A folder, file or URL: Parquet, CSV, JSON lines, or WebDataset tars."""
    fit: str | None = "train"
    """Value of the column `split` of the rows to learn from. null: every row."""
    choose: str | None = "val"
    """Value of `split` of the rows that progress is measured on. Nothing is fitted to them. null: there are none, and
    none of the rows to learn from is held out to calibrate on either."""
    repeat: float = Field(default=1, gt=0)
    """Times that each row is shown in an epoch, each time another view of it. 0.5: half of the rows in each epoch, and
    not the same half each time."""
    find: bool = False
    """The images are photographs: the face nearest the middle of each is found and cut out as labelling does it. Rows
    without a face are left out. false: a row without a box is a crop of its face."""
    words: Words = Words()
    """What columns mean, for captions from which the text tower learns."""

    _paths = model_validator(mode="before")(_entry)

    @model_validator(mode="after")
    def _apart(self) -> Source:
        if self.choose is not None and self.fit in (None, self.choose):
            raise ValueError("fit takes the rows to choose by; name two splits, or choose: null")
        return self


class FaceRes(BaseModel):
    """A start that knows faces; see cilf.training.faceres."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faceres: str
    """Path of `faceres-deep.json`, with `faceres-deep.bin` beside it; `make weights` gets both."""


class SFaceFile(BaseModel):
    """A second network that knows faces; see cilf.models.second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sface: str
    """Path of `face_recognition_sface_2021dec_int8bq.onnx`; `make weights` gets it."""


class Teacher(BaseModel):
    """Networks that know faces and say how old each face to learn from looks; see cilf.training.teacher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sface: str
    """As in SFaceFile."""
    faceres: str
    """As in FaceRes."""


class Recipe(BaseModel):
    """One training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name of the model, as `--model` takes it."""
    summary: str
    licence: str
    data: Annotated[tuple[Source, ...], BeforeValidator(entries), Field(min_length=1)]
    """One source or a list of them. Of those with rows to choose by, `held_out` of the subjects are held out."""
    model: Model

    image_init: Literal["imagenet-lite0"] | FaceRes | None = None
    """Start of the image tower where model.clip.weights is none: ImageNet's weights of EfficientNet-Lite0, or
    `{faceres: weights/faceres-deep.json}`, a MobileNetV1 that knows faces."""
    start: str | None = None
    """Name, path or URL of a model that this run goes on from. The vectors of its prompts stay as they are. What a
    recipe with `start` leaves out is as cilf.training.defaults has it."""
    start_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of `start` in the weights that are kept, by which they often do better than either on faces unlike those
    learned from (Wortsman et al. 2022, arXiv 2109.01903)."""
    second: SFaceFile | None = None
    """A network of its own that correction asks about faces whose estimate is judged bad:
    `{sface: weights/face_recognition_sface_2021dec_int8bq.onnx}`. Its weights stay as they are; an age head is fitted
    to what it sees. null: none, or with `start` that of the start."""
    teacher: Teacher | None = None
    """Frozen networks whose ages for the faces to learn from, by heads that are fitted out of fold, are learned beside
    the labels: `{sface: weights/face_recognition_sface_2021dec_int8bq.onnx, faceres: weights/faceres-deep.json}`.
    Of CILF-CIAE only."""
    frozen_stages: int = Field(default=0, ge=0)
    """With image_init: the stem and this many stages after it stay as they start. Edges are edges everywhere, and
    at full resolution they cost more than all the rest."""
    train_text: bool
    """Fit the text tower too: needed where it starts from nothing, wrong where it comes from CLIP."""

    epochs: int = Field(ge=0)
    """0: nothing is learned, and the model is CLIP by itself (system `clip`), as model.clip.weights has it."""
    batch_size: int = Field(default=64, gt=1)
    """Images per step of the optimiser, over all workers: the same however many there are."""
    accumulate: int = Field(default=1, gt=0)
    """Portions that a worker's share of a batch goes through the network in, where it does not fit at once."""
    views: int = Field(default=1, ge=1)
    """Differently augmented views of each image in a step. A batch has batch_size images, and views times as many
    views."""
    start_size: int | None = Field(default=None, gt=0)
    """Side of the first epoch's images, pixels, growing evenly to model.images.size: early epochs then cost less.
    Default: full size from the start."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of everything new; AdamW, one epoch of warm-up, then a cosine to zero."""
    image_rate: float = Field(default=0.1, ge=0)
    """Share of the peak rate for the image tower."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW, on matrices only: see cilf.training.decay."""
    clip: float = Field(default=5.0, gt=0)
    """Largest norm of a gradient."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay per step of the averaged weights, which are the ones kept. 1 / (1 - ema) steps are averaged."""
    balance: float = Field(default=0.0, ge=0, le=1)
    """Rows weigh 1 / (frequency of their age)^balance, within 0.5-2.5: 0 is every row alike, 1 every age alike. Of
    CILF-CIAE only; the other systems' losses know no weights."""

    held_out: float = Field(default=0.12, gt=0, lt=0.5)
    """Share of the subjects of the `fit` rows of each source that are kept from fitting. The correction is calibrated
    on them."""

    workers: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = 1
    """Processes that train together, one per GPU where there are GPUs. [least, most]: as many as there is room for,
    and fewer or more when machines go or come."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """Every worker holds the whole model, or a shard of it (CILF-CIAE only)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's arithmetic; weights, FFTs and losses are float32. CPUs without bfloat16 are slow in it."""
    checkpoint_steps: int | None = Field(default=None, gt=0)
    """A checkpoint every so many steps. Default: one after each epoch."""
    keep_checkpoints: int = Field(default=2, gt=0)
    """Older ones are deleted."""
    max_failures: int = Field(default=3, ge=0)
    """Worker deaths after which the run goes on from its last checkpoint by itself."""
    seed: int = 0

    @model_validator(mode="after")
    def _can_be_measured(self) -> Recipe:
        if all(source.choose is None for source in self.data):
            raise ValueError("data: no source has rows to choose by; name their split with `choose`")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers: [least, most] is {list(self.workers)}")
        portions = self.most_workers * self.accumulate
        if self.batch_size % portions:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into {self.most_workers} workers x "
                f"{self.accumulate} portions"
            )
        if self.start_size is not None and self.start_size > self.model.images.size:
            raise ValueError(f"start_size {self.start_size} is above model.images.size {self.model.images.size}")
        return self

    @model_validator(mode="after")
    def _goes_on(self) -> Recipe:
        if self.start is None:
            if self.start_share:
                raise ValueError("start_share: there is no start")
        else:
            wrong = {"image_init": self.image_init, "train_text": self.train_text}
            named = [name for name, value in wrong.items() if value]
            if named:
                # A finished model has no text tower.
                raise ValueError(f"start: a run that goes on from a model has no {', '.join(named)}")
        return self

    @model_validator(mode="after")
    def _suits_the_system(self) -> Recipe:
        system = self.model.system
        if system is not None:
            wrong = {
                "balance": self.balance > 0,
                "teacher": self.teacher is not None,
                "strategy: fsdp2": self.strategy == "fsdp2",
            }
            if isinstance(system, MiVolo):  # it has a backbone of its own
                wrong |= {"image_init": self.image_init is not None, "frozen_stages": self.frozen_stages > 0}
            named = [name for name, there in wrong.items() if there]
            if named:
                raise ValueError(f"model.system: {system.system} has no {', '.join(named)}")
        return self

    @model_validator(mode="after")
    def _measures_something(self) -> Recipe:
        if self.epochs:
            return self
        system = self.model.system
        if not isinstance(system, PlainClip):
            raise ValueError(
                "epochs: 0 is for model.system {system: clip}; "
                f"{'cilf-ciae' if system is None else system.system} has parts that start from nothing"
            )
        if self.model.clip.weights is None:
            raise ValueError(
                "epochs: 0 without model.clip.weights: the towers would start from nothing, and there is nothing to "
                "measure; name a file of weights"
            )
        wrong = {
            "start": self.start is not None,
            "image_init": self.image_init is not None,
            "model.prompts.context": self.model.prompts.context > 0,
        }
        named = [name for name, there in wrong.items() if there]
        if named:
            raise ValueError(f"epochs: 0 leaves CLIP as it is, and goes without {', '.join(named)}")
        return self

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in, from `precision`."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.precision]

    @property
    def most_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def images(self, epoch: int) -> Images:
        """What an epoch trains on: a side that is a multiple of 16 on the way is model.images.size at the end."""
        last = self.model.images.size
        if self.start_size is None or epoch >= self.epochs - 1:
            return self.model.images
        grown = self.start_size + (last - self.start_size) * epoch / (self.epochs - 1)
        return self.model.images.model_copy(update={"size": min(last, 16 * round(grown / 16))})


def read_recipe(path: Path, system: Path | None = None) -> Recipe:
    """The recipe in a YAML file, with what a file of configs/models changes in it.

    Raises:
        UsageError: no such file, not YAML, no such start, or wrong names or values, each named.
    """
    raw = filled(read_yaml(path))
    if system is None:
        return checked(Recipe, raw, str(path))
    return checked(Recipe, changed(raw, read_yaml(system)), f"{path} with {system}")


def read_yaml(path: Path) -> Any:
    """What is in a YAML file.

    Raises:
        UsageError: no such file, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: other encodings, and impossible dates.
        raise UsageError(f"{path} is not YAML: {error}") from error


Checked = TypeVar("Checked", bound=BaseModel)


def checked(kind: type[Checked], raw: Any, where: str) -> Checked:
    """A tree of plain values as what it is to be.

    Raises:
        UsageError: wrong names or values, each named, of what is at `where`.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{where}: {problems}") from error
