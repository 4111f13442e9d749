"""Labelling with Daft as in its documentation: download, decode, resize, a class with a batch method, Parquet.

python tests/peers/daft_labelling.py LISTING OUTPUT MODEL [REPLICAS]

REPLICAS of the model share the cores; if there is more than one, each runs in its own process.
"""

from __future__ import annotations

import os
import sys

import daft
import numpy as np
import torch
from daft import DataType, Series, col
from daft.functions import decode_image, download, resize
from daft.io import IOConfig, S3Config

from cilf.card import read_card
from cilf.estimator import Estimator
from cilf.storage import model_folder

BATCH = 64


class Labeller:
    """One replica of the model."""

    def __init__(self, model: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.estimator = Estimator(model_folder(model))

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=BATCH)
    def age(self, images: Series) -> np.ndarray:
        """Ages in years, [N]."""
        if not len(images):
            return np.empty(0, np.float32)
        return self.estimator(np.stack(images.to_pylist())).age


def main(listing: str, output: str, model: str, replicas: str = "1") -> None:
    """Label the column `uri` of a Parquet file, and write uri and age in years."""
    number = int(replicas)
    # With GPUs, each replica has one.
    resources = {"max_concurrency": number, "use_process": number > 1, "gpus": min(1, torch.cuda.device_count())}
    labeller = daft.cls(Labeller, **resources)(model, max(1, len(os.sched_getaffinity(0)) // number))
    size = read_card(model_folder(model)).model.images.size
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    store = IOConfig(s3=S3Config(endpoint_url=endpoint)) if endpoint else None
    frame = daft.read_parquet(listing)
    frame = frame.with_column("image", resize(decode_image(download(col("uri"), io_config=store)), size, size))
    frame = frame.with_column("age", labeller.age(col("image")))
    frame.select("uri", "age").write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
