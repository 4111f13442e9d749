"""Options of `cilf train`, `evaluate`, `card` and `lopo`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cilf.config.parameters import Flag


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """Options of `cilf train`."""

    recipe: str
    """YAML file that describes the model, the data and the training; see configs/train."""

    output: str
    """Folder or URL for the model (model.safetensors, model.json) and all records of the run: new, empty, or of a run
    of this recipe. The same command again resumes from the last checkpoint there."""

    _: KW_ONLY

    system: str | None = None
    """YAML file from configs/models, whose settings replace those of the recipe, so that another age estimation system
    is trained. Default: the recipe as it is."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster to run on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""


@Parameter(name="*")
@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `cilf evaluate`."""

    model: str
    """Name of a bundled model, or a path or URL of a model folder."""

    data: str
    """Path or URL of a Parquet file or a folder of them, with the columns id, image (encoded bytes, or Hugging Face's
    structs of them), age (years) and split; for photographs also box (left, top, right, bottom of the face in the
    upright image, pixels). With age_low and age_high (years; no age_high: and older) instead of ages, the accuracy of
    the age group is measured; with age_std (years), the ε-error too. With gender or sex and race there are figures per
    group. With subject, confidence intervals are over subjects, and the number of subjects that are also in other
    splits is reported. Numbers in gender and race are UTKFace's: gender 0 male, 1 female; race 0 White, 1 Black,
    2 Asian, 3 Indian, 4 Others."""

    _: KW_ONLY

    faces: Annotated[bool, Flag] = False
    """Measure how many faces are found instead of how well their ages are estimated. DATA is then a folder or URL of
    Parquet files of photographs with the columns name, image and faces (number of faces), and optionally of XML files
    with the faces' boxes, as dlib's imglab writes them."""

    suite: Annotated[bool, Flag] = False
    """Train and compare several age estimation systems. MODEL is then a YAML file from configs/suites, and DATA the
    folder or URL for the runs and for a table and plots of each data set. The same command again resumes, and trains
    nothing twice."""

    find: Annotated[bool, Flag] = False
    """Treat the images of DATA as photographs: the face nearest the middle of each is found and cut out as `cilf label`
    does it, and rows without a face are skipped. If a row has a box, the box selects the face."""

    epsilon_sweep: Annotated[bool, Flag] = False
    """Measure the effect and the cost of correction at other thresholds ε of the expected error than the model's
    own."""

    degraded: Annotated[bool, Flag] = False
    """Measure how far estimates move, and how much worse they get, when the same 600 photographs are compressed again,
    noisy, blurred, small, dark, grey or framed differently."""

    parts: Annotated[bool, Flag] = False
    """Measure how much worse the estimates get without each part of CILF-CIAE, and what correction gains."""

    split: str = "val"
    """Use the rows whose column `split` has this value."""

    output: str | None = None
    """Folder or URL for evaluation.md, .png and .json and estimates.parquet. Default: runs/evaluate/ and the
    model's name."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster that --suite runs on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""


@Parameter(name="*")
@dataclass(frozen=True)
class CardOptions:
    """Options of `cilf card`."""

    model: str
    """Name of a bundled model, or a model folder on this machine."""

    results: tuple[str, ...] = ()
    """Folders or URLs with results of `cilf evaluate` for this model, to be added to the card, including those of
    --degraded and --parts. A result replaces an earlier one of the same data and split."""


SystemName = Literal[
    "cilf_ciae",
    "dex",
    "coral",
    "regression",
    "label_distribution",
    "mean_variance",
    "mean_residue",
    "corn",
    "regression_forest",
]


@Parameter(name="*")
@dataclass(frozen=True)
class LopoOptions:
    """Options of `cilf lopo`."""

    model: str
    """Name of a bundled model, or a path or URL of a model folder, whose network is frozen."""

    data: str
    """Folder of FG-NET's photographs, or a Parquet file, a folder or a URL of them, with the columns subject, age
    (years), id or name, and image (encoded bytes) or uri."""

    output: str
    """Folder or URL for the results. The same command again resumes from the results that are there."""

    _: KW_ONLY

    systems: Annotated[tuple[SystemName, ...], Parameter(negative="", consume_multiple=True)] = ()
    """Systems to fit, separated by spaces. Default: all that can use frozen features."""

    seed: int = 0
    """Seed for weights, orders and random draws."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster to run on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""
