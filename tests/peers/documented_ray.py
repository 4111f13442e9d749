"""Labelling with Ray Data as in its documentation: read images, an actor class over batches, Parquet.

python tests/peers/documented_ray.py LISTING OUTPUT MODEL
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq
import ray
import torch

from cilf.card import read_card
from cilf.estimator import Estimator
from cilf.storage import model_folder

BATCH = 64


class Labeller:
    """One replica of the model, with as many threads as Ray gives it."""

    def __init__(self, model: str) -> None:
        self.estimator = Estimator(model_folder(model))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map path and image, uint8 [N, S, S, 3], to uri and age in years."""
        return {"uri": batch["path"], "age": self.estimator(np.stack(batch["image"])).age}


def main(listing: str, output: str, model: str) -> None:
    """Label the column `uri` of a Parquet file, and write uri and age in years."""
    size = read_card(model_folder(model)).model.images.size
    paths = pq.read_table(listing)["uri"].to_pylist()
    ray.data.read_images(paths, size=(size, size), mode="RGB", include_paths=True).map_batches(
        Labeller,
        fn_constructor_args=(model,),
        batch_size=BATCH,
        concurrency=1,
        num_gpus=min(1, torch.cuda.device_count()),
    ).write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
