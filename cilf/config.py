"""Options of the jobs: one frozen dataclass per job, with the meaning and unit of every option.

The command line and the YAML files are both built from these classes (see cilf.cli), so a new option only needs
a field.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

DEFAULT_MODEL = "cilf-ciae-mobile"

_AtLeastOne = Parameter(validator=Number(gte=1))
_Positive = Parameter(validator=Number(gt=0))
_Flag = Parameter(negative="")
_Repeatable = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True)
class ListOptions:
    """Options of `cilf list`."""

    places: Annotated[tuple[str, ...], Parameter(negative="")]
    """INPUT... MANIFEST: what to list, followed by the folder or URL for the listing. Each INPUT is a folder, a URL
    (s3://, gs://, file://), a manifest or packed images as for `cilf label`, or the manifest.json of an S3 Inventory.
    The same command again resumes an unfinished listing, and replaces a finished one once the new one is complete."""

    _: KW_ONLY

    include: Annotated[tuple[str, ...], _Repeatable] = ()
    """List only objects whose key below their INPUT (in a manifest and in packed images: whose URI) matches one of
    these globs, such as "*.jpg" or "2024/*.{jpg,png}"; repeat the option for several. * also matches "/"; upper and
    lower case differ. Default: every object."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.places[:-1]

    @property
    def manifest(self) -> str:
        return self.places[-1]


@Parameter(name="*")
@dataclass(frozen=True)
class LabelOptions:
    """Options of `cilf label`."""

    input: str
    """Input to label: a folder, a URL (s3://, gs://, file://), one image, a manifest (a .parquet, .csv or .jsonl file,
    also .csv.gz, .jsonl.gz or .ndjson, with a `uri` column, a folder of Parquet files whose name ends in .parquet, a
    folder that `cilf list` has written, or the manifest.json of an S3 Inventory), or images packed into a .tar or, as a
    column, into a .parquet file. "folder/*.tar" means all files in the folder with this ending."""

    output: str
    """Folder or URL for the labels. If it holds labels already, only objects that are new, have changed or were
    unavailable are labelled."""

    _: KW_ONLY

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder."""

    faces: Literal["detect", "auto", "none"] = "detect"
    """Face detection. detect: every face in the photograph. none: the whole image is one face, for a corpus of crops.
    auto: an image whose only face fills it like a crop is used whole, any other as with detect."""

    thumbnails: Annotated[bool, _Flag] = False
    """Keep the crops of the faces in a further column `thumbnails`, as JPEG files of about 5 kB each. Objects that are
    labelled already get none without --relabel."""

    include: Annotated[tuple[str, ...], _Repeatable] = ()
    """Label only objects whose key below INPUT (in a manifest and in packed images: whose URI) matches one of these
    globs, such as "*.jpg" or "2024/*.{jpg,png}"; repeat the option for several. * also matches "/"; upper and lower
    case differ. Default: every object."""

    limit: Annotated[int | None, _AtLeastOne] = None
    """Label at most this many objects that are not labelled yet. Default: all of them."""

    relabel: Annotated[bool, _Flag] = False
    """Label objects again that this model has labelled already; the old rows are removed first."""

    max_bytes: Annotated[int, _AtLeastOne] = 100_000_000
    """Largest object that is fetched. The status of larger ones is too_large (bytes), until a run with a higher limit
    labels them again."""

    max_pixels: Annotated[int, _AtLeastOne] = 120_000_000
    """Largest image that is decoded. The status of larger ones, and of those that take more memory than a PNG of this
    size (7 bytes per pixel), is too_large (width x height, pixels), until a run with a higher limit labels them
    again."""

    batch_size: Annotated[int | None, _AtLeastOne] = None
    """Images per batch of the model. Default: on a GPU the smallest of 64, 128 and 256 that comes within 5 % of the
    fastest, timed once the model is loaded; on a CPU, where a batch is split into small chunks anyway, 64."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format in which the model computes."""

    compile: Annotated[bool, _Flag] = False
    """Compile the network with torch.compile, which takes up to a minute at the start and gives more images/s later."""

    actors: Annotated[int | None, _AtLeastOne] = None
    """Replicas of the model. Default: one per share of a GPU, or without GPUs one per eight cores."""

    max_actors: Annotated[int | None, _AtLeastOne] = None
    """Most replicas of the model on a growing cluster, starting from --actors. Default: --actors."""

    gpus_per_actor: Annotated[float, _Positive] = 1.0
    """GPUs per replica: 0.5 puts two replicas on one GPU, whose memory they share."""

    dry_run: Annotated[bool, _Flag] = False
    """Label a sample of --limit objects (default 1,000), write nothing, and print images/s, time and cost of the
    whole corpus, and what fails."""

    price: Annotated[float | None, _Positive] = None
    """Cost of one machine per hour, in any currency, for the total cost that --dry-run prints."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster to run on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""


@Parameter(name="*")
@dataclass(frozen=True)
class CompactOptions:
    """Options of `cilf compact`."""

    output: str
    """Folder or URL that `cilf label` has written into."""


@Parameter(name="*")
@dataclass(frozen=True)
class PublishOptions:
    """Options of `cilf publish`."""

    output: str
    """Folder or URL that `cilf label` has written into."""

    table: str
    """Table to make equal to the labels, created if it does not exist: NAMESPACE.NAME of an Iceberg table, or with
    --format delta its URL or its folder, which is new, empty or holds the table."""

    _: KW_ONLY

    format: Literal["iceberg", "delta"] = "iceberg"
    """Kind of table."""

    catalog: str = "default"
    """Catalog of the Iceberg table, by its name in pyiceberg's configuration: ~/.pyiceberg.yaml, or environment
    variables such as PYICEBERG_CATALOG__DEFAULT__URI."""


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

    faces: Annotated[bool, _Flag] = False
    """Measure how many faces are found instead of how well their ages are estimated. DATA is then a folder or URL of
    Parquet files of photographs with the columns name, image and faces (number of faces), and optionally of XML files
    with the faces' boxes, as dlib's imglab writes them."""

    suite: Annotated[bool, _Flag] = False
    """Train and compare several age estimation systems. MODEL is then a YAML file from configs/suites, and DATA the
    folder or URL for the runs and for a table and plots of each data set. The same command again resumes, and trains
    nothing twice."""

    find: Annotated[bool, _Flag] = False
    """Treat the images of DATA as photographs: the face nearest the middle of each is found and cut out as `cilf label`
    does it, and rows without a face are skipped. If a row has a box, the box selects the face."""

    epsilon_sweep: Annotated[bool, _Flag] = False
    """Measure the effect and the cost of correction at other thresholds ε of the expected error than the model's
    own."""

    degraded: Annotated[bool, _Flag] = False
    """Measure how far estimates move, and how much worse they get, when the same 600 photographs are compressed again,
    noisy, blurred, small, dark, grey or framed differently."""

    parts: Annotated[bool, _Flag] = False
    """Measure how much worse the estimates get without each part of CILF-CIAE, and what correction gains."""

    split: str = "val"
    """Use the rows whose column `split` has this value."""

    output: str | None = None
    """Folder or URL for evaluation.md, .png and .json and estimates.parquet. Default: runs/evaluate/ and the
    model's name."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster that --suite runs on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""


DataSetName = Literal[
    "adience",
    "afad",
    "agedb",
    "appa-real",
    "cacd",
    "clap2015",
    "clap2016",
    "faces",
    "fairface",
    "fgnet",
    "imdb-clean",
    "morph2",
    "ranks",
    "scface",
    "utkface",
]


@Parameter(name="*")
@dataclass(frozen=True)
class DataCheckOptions:
    """Options of `cilf data check`."""

    name: DataSetName
    """Name of the public data set, or `ranks` for images of your own in a folder per rank."""

    folder: str
    """Local folder of the data set, laid out as its authors distribute it; see docs/guides/data-sets.md."""

    _: KW_ONLY

    output: str | None = None
    """A file or URL FILE.parquet for the table of all usable faces, which `cilf train` reads; FILE.problems.csv next to
    it lists every problem. Default: nothing is written."""


ProtocolName = Literal[
    "adience",
    "cacd",
    "clap",
    "fgnet-lopo",
    "morph2-i",
    "morph2-ii",
    "morph2-iii",
    "morph2-iv",
    "random-80-20",
    "subjects-80-20",
    "utkface-21-60",
    "utkface-all",
]


@Parameter(name="*")
@dataclass(frozen=True)
class DataSplitOptions:
    """Options of `cilf data split`."""

    protocol: ProtocolName
    """Name of the evaluation protocol; see docs/guides/data-sets.md."""

    table: str
    """File or URL of the table that `cilf data check --output` has written."""

    output: str
    """Folder or URL for a Parquet file per fold, whose column `split` is train, val or test, and for split.json with
    the leakage of each fold."""

    _: KW_ONLY

    seed: int = 0
    """Seed for every random draw."""

    lists: str | None = None
    """Local file or folder with the lists of a published split, used instead of a random draw: for morph2-i to
    morph2-iv and utkface-21-60."""

    images: Annotated[bool, _Flag] = False
    """Put the image files themselves into the tables, as `cilf evaluate` reads them. Default: only their URIs."""


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


@Parameter(name="*")
@dataclass(frozen=True)
class ReportOptions:
    """Options of `cilf report`."""

    output: str
    """Folder or URL that `cilf label` has written into. report.html, review.csv and review.parquet are written there
    too; a review file that people have filled in stays, and the new ones are written to OUTPUT/review."""

    _: KW_ONLY

    slice: Annotated[tuple[str, ...], _Repeatable] = ()
    """Show figures by the values of this column, which the labels carry from your manifest; repeat the option for
    several."""

    previous: Annotated[int, _AtLeastOne] = 7
    """Number of earlier runs of the same model with which the ages of the newest run are compared, all together. A run
    that ended early and the runs that resumed it count as one. Runs that have drifted do not count."""

    since: str | None = None
    """Treat all runs from this one on, together, as the newest: a run id or its beginning, such as 20261122 for a day.
    Default: only the newest."""

    review: Annotated[int, Parameter(validator=Number(gte=0, lte=100_000))] = 100
    """Number of faces in the review queue."""

    price: Annotated[float | None, _Positive] = None
    """Cost of all machines of a run together per hour, in any currency, for the cost of each run."""

    corrections: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """CSV or Parquet file or URL of a review queue with true_age (years) filled in, or a folder of such files, such as
    OUTPUT; separate several by spaces. If a face has two ages, the one in the file that was changed last counts. With
    this option no page is written, but --training-rows."""

    training_rows: str | None = None
    """Parquet file or URL for the training rows from --corrections: uri, age, subject, split and the face's box."""


@Parameter(name="*")
@dataclass(frozen=True)
class NightlyOptions:
    """Options of `cilf nightly`."""

    night: Annotated[str, Parameter(name="CONFIG")]
    """YAML file or URL with the inputs, OUTPUT and options of a night; see configs/nightly.yaml."""

    _: KW_ONLY

    again: Annotated[bool, _Flag] = False
    """If tonight's run is done, begin another one of the same date. Without this option nothing is done then."""


@Parameter(name="*")
@dataclass(frozen=True)
class BenchOptions:
    """Options of `cilf bench`."""

    what: Literal["label", "train", "mixers"] = "label"
    """The benchmark. label: this machine's limits and the whole pipeline. train: training on all cores, compared with
    a plain loop. mixers: FourierFormer mixers by number of tokens."""

    _: KW_ONLY

    output: str = "runs/bench"
    """Folder for the results."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder. For `label`, and for `train`, which continues from
    it."""

    objects: Literal["crops", "snapshots", "photographs", "s3"] = "crops"
    """Objects to label. crops: 200 x 200 pixels, local files. snapshots, photographs: local files of 1 and of 12
    megapixels, in which the faces are found first. s3: crops from an S3 store on this machine that answers after
    --latency-ms. For `label`."""

    images: Annotated[int | None, Parameter(validator=Number(gte=200))] = None
    """Number of objects in the larger of two runs; the smaller has an eighth. For `train`: number of crops to learn
    from. Default: 4000, or 800 with photographs."""

    latency_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 30
    """Delay of the store before each answer, milliseconds. For `label --objects s3`."""

    stage_only: Literal["fetch", "decode", "faces", "model"] | None = None
    """Measure only this stage. For `label`. Default: each of them, and the whole pipeline."""

    price: Annotated[float | None, _Positive] = None
    """Cost of this machine per hour, in any currency, for the cost of a million images. For `label`."""

    repeats: Annotated[int, _AtLeastOne] = 3
    """Number of measurements of each figure; the median is reported."""


@Parameter(name="*")
@dataclass(frozen=True)
class CardOptions:
    """Options of `cilf card`."""

    model: str
    """Name of a bundled model, or a model folder on this machine."""

    results: tuple[str, ...] = ()
    """Folders or URLs with results of `cilf evaluate` for this model, to be added to the card, including those of
    --degraded and --parts. A result replaces an earlier one of the same data and split."""


@Parameter(name="*")
@dataclass(frozen=True)
class DemoOptions:
    """Options of `cilf demo`."""

    _: KW_ONLY

    folder: str = "demo"
    """Folder for the photographs, their labels and the contact sheet. It is new or empty, or was made by an earlier
    demo, whose photographs are then labelled again."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder."""
