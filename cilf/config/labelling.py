"""Options of `cilf list`, `label`, `compact` and `publish`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cilf.config.parameters import DEFAULT_MODEL, AtLeastOne, Flag, Positive, Repeatable

FaceMode = Literal["detect", "auto", "none"]
"""How faces are found; see LabelOptions.faces."""


@Parameter(name="*")
@dataclass(frozen=True)
class ListOptions:
    """Options of `cilf list`."""

    places: Annotated[tuple[str, ...], Parameter(negative="")]
    """INPUT... MANIFEST: what to list, followed by the folder or URL for the listing. Each INPUT is a folder, a URL
    (s3://, gs://, file://), a manifest or packed images as for `cilf label`, or the manifest.json of an S3 Inventory.
    The same command again resumes an unfinished listing, and replaces a finished one once the new one is complete."""

    _: KW_ONLY

    include: Annotated[tuple[str, ...], Repeatable] = ()
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

    faces: FaceMode = "detect"
    """Face detection. detect: every face in the photograph. none: the whole image is one face, for a corpus of crops.
    auto: an image whose only face fills it like a crop is used whole, any other as with detect."""

    thumbnails: Annotated[bool, Flag] = False
    """Keep the crops of the faces in a further column `thumbnails`, as JPEG files of about 5 kB each. Objects that are
    labelled already get none without --relabel."""

    include: Annotated[tuple[str, ...], Repeatable] = ()
    """Label only objects whose key below INPUT (in a manifest and in packed images: whose URI) matches one of these
    globs, such as "*.jpg" or "2024/*.{jpg,png}"; repeat the option for several. * also matches "/"; upper and lower
    case differ. Default: every object."""

    limit: Annotated[int | None, AtLeastOne] = None
    """Label at most this many objects that are not labelled yet. Default: all of them."""

    relabel: Annotated[bool, Flag] = False
    """Label objects again that this model has labelled already; the old rows are removed first."""

    max_bytes: Annotated[int, AtLeastOne] = 100_000_000
    """Largest object that is fetched. The status of larger ones is too_large (bytes), until a run with a higher limit
    labels them again."""

    max_pixels: Annotated[int, AtLeastOne] = 120_000_000
    """Largest image that is decoded. The status of larger ones, and of those that take more memory than a PNG of this
    size (7 bytes per pixel), is too_large (width x height, pixels), until a run with a higher limit labels them
    again."""

    batch_size: Annotated[int | None, AtLeastOne] = None
    """Images per batch of the model. Default: on a GPU the smallest of 64, 128 and 256 that comes within 5 % of the
    fastest, timed once the model is loaded; on a CPU, where a batch is split into small chunks anyway, 64."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format in which the model computes."""

    compile: Annotated[bool, Flag] = False
    """Compile the network with torch.compile, which takes up to a minute at the start and gives more images/s later."""

    actors: Annotated[int | None, AtLeastOne] = None
    """Replicas of the model. Default: one per share of a GPU, or without GPUs one per eight cores."""

    max_actors: Annotated[int | None, AtLeastOne] = None
    """Most replicas of the model on a growing cluster, starting from --actors. Default: --actors."""

    gpus_per_actor: Annotated[float, Positive] = 1.0
    """GPUs per replica: 0.5 puts two replicas on one GPU, whose memory they share."""

    dry_run: Annotated[bool, Flag] = False
    """Label a sample of --limit objects (default 1,000), write nothing, and print images/s, time and cost of the
    whole corpus, and what fails."""

    price: Annotated[float | None, Positive] = None
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
