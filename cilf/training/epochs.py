"""The rows of one epoch: shuffled, decoded, augmented, and dealt out so that every worker makes as many steps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cilf.card import Images
from cilf.images.body import with_body
from cilf.images.decode import decode
from cilf.own_process import prepare
from cilf.training.augment import MARGIN, augment
from cilf.training.sources import TASK_CPUS

if TYPE_CHECKING:
    from ray.data import Dataset

_MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class Views:
    """Encoded rows -> what a step needs. Runs in CPU tasks that never import torch."""

    images: Images
    """What a step sees."""
    weights_K: np.ndarray
    """float32: weight of a row by its age in whole years, 0..OLDEST."""
    seed: tuple[int, ...] | None
    """Of the augmentation, together with a row's id: the same view wherever and whenever it is made. None: the
    images as labelling sees them."""

    def __call__(self, table: pa.Table) -> dict[str, np.ndarray]:
        """ROW -> `image` uint8 [B, S, S, C], `age` float32 [B] years, `weight` float32 [B]."""
        prepare()
        ages_B = table["age"].to_numpy().astype(np.float32)
        images = [self.view(*row) for row in self.encoded(table)]
        return {
            "image": np.stack(images) if images else np.empty((0, *self.images.shape), np.uint8),
            "age": ages_B,
            "weight": self.weights_K[ages_B.round().astype(int)],
        }

    def encoded(self, table: pa.Table) -> Iterator[tuple[str, pa.Scalar, pa.Scalar | None]]:
        """ROW -> what `view` takes of each."""
        bodies = table["body"] if self.images.body else [None] * len(table)
        return zip(table["id"].to_pylist(), table["image"], bodies, strict=True)

    def view(self, row_id: str, face: pa.Scalar, body: pa.Scalar | None) -> np.ndarray:
        """One row's image, uint8 [S, S, C]."""
        rng = None
        if self.seed is not None:
            name = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
            rng = np.random.default_rng([*self.seed, int.from_bytes(name, "little")])
        face_HWC = self._seen(face, rng)
        if body is None:
            return face_HWC
        return with_body(face_HWC, self._seen(body, rng) if body.is_valid else None)

    def _seen(self, encoded: pa.Scalar, rng: np.random.Generator | None) -> np.ndarray:
        data, size = encoded.as_buffer().to_pybytes(), self.images.size
        if rng is None:
            return decode(data, size, _MAX_PIXELS).crop
        return augment(decode(data, round(size * MARGIN), _MAX_PIXELS).crop, size, rng)


def epoch(rows: Dataset, views: Views, block_rows: int, shuffle_seed: int | None) -> Dataset:
    """Rows -> blocks of `block_rows` views, in an order that only the seed decides.

    One block is one worker's batch. As order is kept, dealing the blocks out in turns gives two workers the same
    rows per step as one worker with twice the batch.
    """
    if shuffle_seed is not None:
        rows = rows.random_shuffle(seed=shuffle_seed)
    dealt = rows.repartition(target_num_rows_per_block=block_rows, strict=True)
    seen = dealt.map_batches(views, batch_size=None, batch_format="pyarrow", num_cpus=TASK_CPUS, zero_copy_batch=True)
    context = seen.context
    context.execution_options.preserve_order = True
    # A block must stay whole, or the turns would slip.
    most_bytes = 4 * block_rows * (math.prod(views.images.shape) + 64)
    context.target_max_block_size = max(context.target_max_block_size or 0, most_bytes)
    return seen


def age_weights(ages_N: np.ndarray, balance: float, oldest: int) -> np.ndarray:
    """Weight by whole years, float32 [oldest + 1]: 1 / frequency^balance, of mean 1 over the rows, within 0.5-2.5.

    Frequencies are smoothed by a Gaussian of 2 years: neighbouring ages look alike, so they help each other
    (label distribution smoothing, Yang et al. 2021, arXiv 2102.09554).
    """
    years_N = ages_N.round().astype(int)
    counts_K = np.bincount(years_N, minlength=oldest + 1).astype(float)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    smooth_K = np.convolve(np.pad(counts_K, 8, mode="reflect"), kernel / kernel.sum(), mode="valid")
    weights_K = np.maximum(smooth_K, 0.5) ** -balance
    weights_K = np.clip(weights_K / weights_K[years_N].mean(), 0.5, 2.5)
    return (weights_K / weights_K[years_N].mean()).astype(np.float32)
