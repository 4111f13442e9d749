"""What each job can be asked to do: one frozen dataclass per job, every option with its meaning and unit.

The command line and the YAML files are both built from these classes (see cilf.cli), so a field is all that
a new option needs.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

DEFAULT_MODEL = "cilf-ciae-lite0"

_AtLeastOne = Parameter(validator=Number(gte=1))
_Positive = Parameter(validator=Number(gt=0))
_Flag = Parameter(negative="")
_Repeatable = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True)
class ListOptions:
    """Options of `cilf list`."""

    places: Annotated[tuple[str, ...], Parameter(negative="")]
    """INPUT... MANIFEST: what to list, and behind it the folder or URL for the listing. Each INPUT is a folder, a URL
    (s3://, gs://, file://), a manifest or packed images as for `cilf label`, or the manifest.json of an S3 Inventory.
    The same command again goes on with a listing that was not finished, and replaces a finished one once the new one is
    complete."""

    _: KW_ONLY

    include: Annotated[tuple[str, ...], _Repeatable] = ()
    """List only objects whose key below their INPUT (of a manifest and of packed images: whose URI) fits one of these
    globs, such as "*.jpg" or "2024/*.{jpg,png}"; repeat the option for several. * also matches "/"; upper and lower
    case differ. Default: every object."""

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
    """What to label: a folder, a URL (s3://, gs://, file://), one image, a manifest (a .parquet, .csv or .jsonl file,
    also .csv.gz, .jsonl.gz or .ndjson, with a `uri` column, a folder of Parquet files whose name ends in .parquet, a
    folder that `cilf list` has written, or the manifest.json of an S3 Inventory), or images packed into a .tar or, as a
    column, into a .parquet file. Of files that end so, "folder/*.tar" means all."""

    output: str
    """Folder or URL for the labels. The same one again: only what is new, changed or was unavailable is
    labelled."""

    _: KW_ONLY

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder."""

    faces: Literal["detect", "auto", "none"] = "detect"
    """How faces are found. detect: every face in the photograph. none: the whole image is the one face, for a corpus
    of crops. auto: an image whose one face fills it like a crop is used whole, any other as with detect."""

    thumbnails: Annotated[bool, _Flag] = False
    """Keep the crops of the faces as a further column `thumbnails`, a JPEG file of about 5 kB each. What is labelled
    already gets none without --relabel."""

    include: Annotated[tuple[str, ...], _Repeatable] = ()
    """Label only objects whose key below INPUT (of a manifest and of packed images: whose URI) fits one of these globs,
    such as "*.jpg" or "2024/*.{jpg,png}"; repeat the option for several. * also matches "/"; upper and lower case
    differ. Default: every object."""

    limit: Annotated[int | None, _AtLeastOne] = None
    """Label at most this many objects that are not labelled yet. Default: all of them."""

    relabel: Annotated[bool, _Flag] = False
    """Label again what this model has labelled already; the old rows are removed first."""

    max_bytes: Annotated[int, _AtLeastOne] = 100_000_000
    """Larger objects are not fetched; their status is too_large (bytes), until a run with a higher bound labels them
    again."""

    max_pixels: Annotated[int, _AtLeastOne] = 120_000_000
    """Images with more pixels are not decoded, nor those that take more memory than a PNG of so many, 7 bytes each;
    their status is too_large (width x height, pixels), until a run with a higher bound labels them again."""

    batch_size: Annotated[int | None, _AtLeastOne] = None
    """Images that go through the model at once. Default: on a GPU the smallest of 64, 128 and 256 that comes within 5 %
    of the fastest, timed once the model is loaded; without, where a batch is cut into small pieces anyway, 64."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format the model computes in."""

    compile: Annotated[bool, _Flag] = False
    """Compile the network with torch.compile: up to a minute at the start for more images/s later."""

    actors: Annotated[int | None, _AtLeastOne] = None
    """Replicas of the model. Default: one per share of a GPU, or without GPUs one for eight cores."""

    max_actors: Annotated[int | None, _AtLeastOne] = None
    """Replicas that a growing cluster may come to have, starting from --actors. Default: --actors."""

    gpus_per_actor: Annotated[float, _Positive] = 1.0
    """GPUs of a replica: 0.5 puts two on one GPU, whose memory they have to share."""

    dry_run: Annotated[bool, _Flag] = False
    """Label a sample of --limit objects (default 1,000), write nothing, and tell images/s, time and cost of the
    whole and what fails."""

    price: Annotated[float | None, _Positive] = None
    """What one machine costs per hour, in any currency, for --dry-run to count with."""

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
    """Table that is to equal the labels, made where there is none: NAMESPACE.NAME of an Iceberg table, or with --format
    delta its folder, new, empty or with the table, or its URL."""

    _: KW_ONLY

    format: Literal["iceberg", "delta"] = "iceberg"
    """Kind of table."""

    catalog: str = "default"
    """Catalog that has the Iceberg table, by its name in pyiceberg's configuration: ~/.pyiceberg.yaml, or variables
    such as PYICEBERG_CATALOG__DEFAULT__URI."""


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """Options of `cilf train`."""

    recipe: str
    """YAML file that says what to train on what; see configs/train."""

    output: str
    """Folder or URL for the model (model.safetensors, model.json) and everything about the run: new, empty, or of a run
    of this recipe. The same command again goes on from the last checkpoint there."""

    _: KW_ONLY

    system: str | None = None
    """YAML file of configs/models: what it says takes the place of what the recipe says, so that another system of
    the field is trained. Default: the recipe as it is."""

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
    structs of them), age (years) and split; of photographs box too (left, top, right, bottom of the face in the upright
    image, pixels). With age_low and age_high (years; no age_high: and older) instead of ages, how often the age group
    is right is measured; with age_std (years), the ε-error too. With gender or sex and race there are figures per
    group, with subject the intervals are over subjects, and it is said how many of these stand in other splits too.
    Numbers there are UTKFace's: gender 0 male, 1 female; race 0 White, 1 Black, 2 Asian, 3 Indian, 4 Others."""

    _: KW_ONLY

    faces: Annotated[bool, _Flag] = False
    """Measure how many faces are found instead of how well their ages are estimated. DATA is then a folder or URL of
    Parquet files of photographs with the columns name, image and faces (how many there are), and possibly of XML files
    with their boxes, as dlib's imglab writes them."""

    suite: Annotated[bool, _Flag] = False
    """Train and measure systems of the field side by side. MODEL is then a YAML file of configs/suites, and DATA the
    folder or URL for the runs and for a table and plots of each data set. The same command again goes on, and trains
    nothing twice."""

    find: Annotated[bool, _Flag] = False
    """The images of DATA are photographs: the face nearest the middle of each is found and cut out as `cilf label` does
    it, and rows without a face are skipped. Where a row has a box, the box says which face is meant."""

    epsilon_sweep: Annotated[bool, _Flag] = False
    """Measure what correction does, and costs, with other thresholds ε of the judged error than the model's own."""

    degraded: Annotated[bool, _Flag] = False
    """Measure how far estimates move, and how much worse they get, when the same 600 photographs are saved again,
    noisy, blurred, small, dark, grey or framed otherwise."""

    parts: Annotated[bool, _Flag] = False
    """Measure how much worse the estimates get without each part of CILF-CIAE, and what correction gains."""

    split: str = "val"
    """Rows whose column `split` has this value."""

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
    """Which public data set it is, or `ranks`: images of your own in a folder per rank."""

    folder: str
    """Its local folder, laid out as its authors hand it out; see README.md."""

    _: KW_ONLY

    output: str | None = None
    """A file or URL FILE.parquet for the table of all usable faces, which `cilf train` reads; FILE.problems.csv beside
    it lists everything that is wrong. Default: nothing is written."""


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
    """Which protocol of the field; see README.md."""

    table: str
    """File or URL of the table that `cilf data check --output` has written."""

    output: str
    """Folder or URL for a Parquet file per fold, whose column `split` says train, val or test, and split.json, the
    leakage of each."""

    _: KW_ONLY

    seed: int = 0
    """Of whatever is drawn at random."""

    lists: str | None = None
    """Local file or folder of a published split's lists, which are taken instead of a draw: for morph2-i to morph2-iv
    and utkface-21-60."""

    images: Annotated[bool, _Flag] = False
    """Put the image files themselves into the tables, as `cilf evaluate` reads them. Default: their places."""


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
    """Folder or URL for the results. The same command again goes on from what is finished there."""

    _: KW_ONLY

    systems: Annotated[tuple[SystemName, ...], Parameter(negative="", consume_multiple=True)] = ()
    """Fit these, several after one another. Default: all that can stand on frozen features."""

    seed: int = 0
    """Of weights, orders and draws."""

    cluster: Annotated[str | None, Parameter(env_var="RAY_ADDRESS")] = None
    """Address of the Ray cluster to run on, or auto to find it. Default: Ray is started on this machine for
    this job alone."""


@Parameter(name="*")
@dataclass(frozen=True)
class ReportOptions:
    """Options of `cilf report`."""

    output: str
    """Folder or URL that `cilf label` has written into. report.html, review.csv and review.parquet go there too; where
    people have filled in a review file, it stays, and the new ones go to OUTPUT/review."""

    _: KW_ONLY

    slice: Annotated[tuple[str, ...], _Repeatable] = ()
    """Figures by the values of this column, one that your manifest had and the labels carry; repeat the option for
    several."""

    previous: Annotated[int, _AtLeastOne] = 7
    """Runs before the newest, of the same model, that its ages are compared with, all of them together. A run that
    ended early and those that went on with it are one. Those that have drifted do not count."""

    since: str | None = None
    """Runs from this one on count as the newest, all of them together: a run id or how it begins, such as 20261122 for
    a day. Default: the newest alone."""

    review: Annotated[int, Parameter(validator=Number(gte=0, lte=100_000))] = 100
    """Faces in the review queue."""

    price: Annotated[float | None, _Positive] = None
    """What the machines of a run cost together per hour, in any currency, for the cost of each run."""

    corrections: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """CSV or Parquet file or URL of a review queue with true_age (years) filled in, or a folder of such files, such as
    OUTPUT; several after one another. Of two ages of one face, that of the file that was changed last counts. With
    it no page is written, but --training-rows."""

    training_rows: str | None = None
    """Parquet file or URL for the rows that --corrections gives: uri, age, subject, split and the box of the face."""


@Parameter(name="*")
@dataclass(frozen=True)
class NightlyOptions:
    """Options of `cilf nightly`."""

    night: Annotated[str, Parameter(name="CONFIG")]
    """YAML file or URL that says what to label where, and how; see configs/nightly.yaml."""

    _: KW_ONLY

    again: Annotated[bool, _Flag] = False
    """If tonight's night is done, begin another one of the same date. Without this option nothing is done then."""


@Parameter(name="*")
@dataclass(frozen=True)
class BenchOptions:
    """Options of `cilf bench`."""

    what: Literal["label", "train", "mixers"] = "label"
    """label: this machine's limits and the whole pipeline. train: training on all cores, beside a plain loop. mixers:
    FourierFormer mixers by number of tokens."""

    _: KW_ONLY

    output: str = "runs/bench"
    """Folder for the results."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder. For `label`, and for `train`, which goes on from
    it."""

    objects: Literal["crops", "snapshots", "photographs", "s3"] = "crops"
    """What is labelled. crops: 200 x 200 pixels, local files. snapshots, photographs: local files of 1 and of 12
    megapixels, in which the faces are found first. s3: crops from an S3 store on this machine that answers after
    --latency-ms. For `label`."""

    images: Annotated[int | None, Parameter(validator=Number(gte=200))] = None
    """Objects of the larger of two runs; the smaller has an eighth. For `train`: crops to learn from. Default: 4000,
    and 800 photographs."""

    latency_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 30
    """What the store waits before each answer, milliseconds. For `label --objects s3`."""

    stage_only: Literal["fetch", "decode", "faces", "model"] | None = None
    """Measure this stage alone and nothing else. For `label`. Default: each of them, and the whole pipeline."""

    price: Annotated[float | None, _Positive] = None
    """What this machine costs per hour, in any currency, for the cost of a million images. For `label`."""

    repeats: Annotated[int, _AtLeastOne] = 3
    """Measurements of each thing; the median counts."""


@Parameter(name="*")
@dataclass(frozen=True)
class CardOptions:
    """Options of `cilf card`."""

    model: str
    """Name of a bundled model, or a model folder on this machine."""

    results: tuple[str, ...] = ()
    """Folders or URLs with results of `cilf evaluate` for this model, which go on the card; those of --degraded and
    --parts count too. A result takes the place of an earlier one of the same data and split."""


@Parameter(name="*")
@dataclass(frozen=True)
class DemoOptions:
    """Options of `cilf demo`."""

    _: KW_ONLY

    folder: str = "demo"
    """Folder for the photographs, their labels and the contact sheet. It is new or empty, or an earlier demo made it,
    whose photographs are then labelled again."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder."""
