"""Options of `cilf data check` and `cilf data split`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cilf.config.parameters import Flag

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

    images: Annotated[bool, Flag] = False
    """Put the image files themselves into the tables, as `cilf evaluate` reads them. Default: only their URIs."""
