"""The rows of one epoch: shuffled, decoded, augmented, and dealt out so that every worker makes as many steps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cilf.images.decode import decode
from cilf.training.augment import MARGIN, augment
from cilf.training.rows import TASK_CPUS

if TYPE_CHECKING:
    from ray.data import Dataset

_MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class Views:
    """Encoded rows -> what a step needs. Runs in CPU tasks that never import torch."""

    size: int
    """Side of the images, pixels."""
    weights_K: np.ndarray
    """float32: weight of a row by its age in whole years, 0..OLDEST."""
    seed: tuple[int, ...] | None
    """Of the augmentation, together with a row's id: the same view wherever and whenever it is made. None: the
    images as labelling sees them."""

    def __call__(self, table: pa.Table) -> dict[str, np.ndarray]:
        """ROW -> `image` uint8 [B, S, S, 3], `age` float32 [B] years, `weight` float32 [B]."""
        ages_B = table["age"].to_numpy().astype(np.float32)
        images = [self.view(i, data) for i, data in zip(table["id"].to_pylist(), table["image"], strict=True)]
        return {
            "image": np.stack(images) if images else np.empty((0, self.size, self.size, 3), np.uint8),
            "age": ages_B,
            "weight": self.weights_K[ages_B.round().astype(int)],
        }

    def view(self, row_id: str, data: pa.Scalar) -> np.ndarray:
        """One image, uint8 [S, S, 3]."""
        encoded = data.as_buffer().to_pybytes()
        if self.seed is None:
            return decode(encoded, self.size, _MAX_PIXELS).crop
        name = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
        rng = np.random.default_rng([*self.seed, int.from_bytes(name, "little")])
        return augment(decode(encoded, round(self.size * MARGIN), _MAX_PIXELS).crop, self.size, rng)


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
    context.target_max_block_size = max(context.target_max_block_size or 0, 4 * block_rows * (3 * views.size**2 + 64))
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
