"""Label the photographs of a Daft DataFrame (pip install daft).

python examples/daft_udf.py LISTING OUTPUT

LISTING is a Parquet file with a column `uri`.
"""

from __future__ import annotations

import sys

import daft
from daft import DataType, Series, col
from daft.functions import download

import cilf


@daft.cls
class Ages:
    """One replica of the model."""

    def __init__(self) -> None:
        self.labeller = cilf.AgeLabeller()

    @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=64)
    def ages(self, photographs: Series) -> list[list[float]]:
        """The ages of the faces in each photograph, years."""
        labelled = self.labeller({"bytes": photographs.to_pylist()})
        return [[float(face["age"]) for face in faces] for faces in labelled["faces"]]


def main(listing: str, output: str) -> None:
    """Download, label and write."""
    frame = daft.read_parquet(listing)
    frame = frame.with_column("ages", Ages().ages(download(col("uri"), on_error="null")))
    frame.write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
