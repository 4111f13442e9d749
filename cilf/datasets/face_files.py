"""Which Parquet files hold labelled faces, and what of a split is where in them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cilf.errors import UsageError
from cilf.storage import Location, problem

_REQUIRED = ("id", "age", "image", "split")
GROUPS = {"gender": ("gender", "sex"), "race": ("race",), "subject": ("subject",)}
"""Group: the columns it may be in; the first that is there counts."""


@dataclass(frozen=True)
class FaceFile:
    """One Parquet file of labelled faces."""

    location: Location
    columns: dict[str, str]
    """What is read from it: our name of a column, and the file's."""
    row_groups: list[int]
    """Those with rows of the split."""
    rows: int
    """Of the split."""
    splits: frozenset[str]


def parquet_files(source: Location) -> list[Location]:
    """The Parquet file, or those below a folder but for hidden ones, by name.

    Raises:
        UsageError: there are none.
    """
    try:
        if source.fs.isfile(source.path):
            return [source]
        if not source.fs.exists(source.path):
            raise FileNotFoundError("no file and no folder of that name")
        below = [path for path in source.fs.find(source.path) if path.endswith(".parquet")]
    except Exception as error:
        raise UsageError(f"no labelled faces: {problem(error, source.url)}") from error
    shown = [path for path in below if not path.rpartition("/")[2].startswith((".", "_"))]
    if not shown:
        raise UsageError(f"{source.url} holds no Parquet file with labelled faces")
    return [Location(source.scheme, source.fs, path) for path in sorted(shown)]


def inspect(location: Location, split: str) -> FaceFile:
    """What a file holds of a split, without reading its images.

    Raises:
        UsageError: it is not one of labelled faces.
    """
    try:
        with location.fs.open(location.path, "rb") as opened:
            parquet = pq.ParquetFile(opened)
            columns = parquet.schema_arrow
            missing = [name for name in _REQUIRED if name not in columns.names]
            if missing:
                raise UsageError(
                    f"{location.url} has no column {', '.join(missing)} (its columns: {', '.join(columns.names)}); "
                    "labelled faces need id, image (encoded bytes), age (years) and split"
                )
            image = columns.field("image").type
            if not (pa.types.is_binary(image) or pa.types.is_large_binary(image)):
                raise UsageError(f"{location.url} has a column image of {image}; expected binary, the encoded bytes")
            groups = range(parquet.num_row_groups)
            splits = [
                parquet.read_row_group(group, columns=["split"])["split"].cast(pa.string()).to_pylist()
                for group in groups
            ]
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read labelled faces: {problem(error, location.url)}") from error
    found = {name: next((c for c in known if c in columns.names), None) for name, known in GROUPS.items()}
    wanted = {"id": "id", "age": "age", "image": "image"} | {name: c for name, c in found.items() if c}
    counts = [values.count(split) for values in splits]
    there = frozenset(value for values in splits for value in values if value is not None)
    return FaceFile(location, wanted, [g for g, count in zip(groups, counts, strict=True) if count], sum(counts), there)
