"""Reads photographs whose faces are known, by their boxes or only by their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq

from cilf.datasets.columns import check_image_column, encoded_images
from cilf.datasets.data_files import data_files
from cilf.errors import UsageError
from cilf.storage import CHECKING, Location, locate, problem, read


@dataclass(frozen=True)
class KnownPhotograph:
    """A photograph with the known faces in it."""

    name: str
    data: bytes
    """The encoded image."""
    count: int
    boxes_N4: np.ndarray | None
    """float32, left, top, right, bottom, pixels of the upright image; None if only the number of faces is known."""


def photographs(data: str) -> Iterator[KnownPhotograph]:
    """Yields photographs from the Parquet files of a folder or below a URL.

    Their columns are name, image (encoded bytes) and the number of faces, in a column `faces` or one whose name ends in
    `_faces`. XML files in the same folder, as written by dlib's imglab, give boxes; their file names are matched with
    the ends of the photographs' names.

    Raises:
        UsageError: no such data, or a column is missing.
    """
    folder = locate(data, CHECKING)
    try:
        beside = data_files(folder)
        lists = [file for file in beside if file.path.lower().endswith(".xml")]
        boxes = {name: found for file in lists for name, found in _imglab(read(file) or b"").items()}
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read photographs: {problem(error, folder.url)}") from error
    tables = [file for file in beside if file.path.lower().endswith(".parquet")]
    if not tables:
        raise UsageError(f"{data} holds no Parquet files of photographs")
    for file in tables:
        yield from _of_file(file, boxes)


def _of_file(file: Location, boxes: Mapping[str, np.ndarray]) -> Iterator[KnownPhotograph]:
    with file.fs.open(file.path, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        names = parquet.schema_arrow.names
        counts = [name for name in names if name == "faces" or name.endswith("_faces")]
        if missing := [name for name in ("name", "image") if name not in names] or (not counts and ["faces"]):
            raise UsageError(f"{file.url} has no column {' and no column '.join(missing)}")
        check_image_column(parquet.schema_arrow.field("image").type, file.url)
        for batch in parquet.iter_batches(16, columns=["name", "image", counts[0]]):
            images = encoded_images(batch["image"]).to_pylist()
            for image, row in zip(images, batch.drop_columns(["image"]).to_pylist(), strict=True):
                known = next((found for name, found in boxes.items() if row["name"].endswith(name)), None)
                count = row[counts[0]] if known is None else len(known)
                yield KnownPhotograph(row["name"], image, count, known)


def _imglab(xml: bytes) -> dict[str, np.ndarray]:
    """File name -> boxes, from an imglab XML file."""
    found = {}
    for image in ElementTree.fromstring(xml).iter("image"):
        boxes = [[float(box.attrib[side]) for side in ("left", "top", "width", "height")] for box in image.iter("box")]
        left_top_size = np.array(boxes, np.float32).reshape(-1, 4)
        left_top_size[:, 2:] += left_top_size[:, :2]
        found[image.attrib["file"]] = left_top_size
    return found
