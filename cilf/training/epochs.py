"""The rows of one epoch: shuffled, decoded, augmented, and dealt out so that every worker makes as many steps."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.card import Images
from cilf.datasets.labels import OLDEST
from cilf.images.body import with_body
from cilf.images.decode import decode
from cilf.own_process import prepare
from cilf.training.augment import MARGIN, augment
from cilf.training.balance import bounds, mean_of_years
from cilf.training.sources import TASK_CPUS

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

_MAX_PIXELS = 200_000_000
_SHUFFLED_ROWS = 1024
"""Rows of a block that is shuffled. N blocks exchange N² parts, which cost Ray 0.3 ms each."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_Draws = list[np.random.Generator | None]


TAUGHT = "taught"
"""Column of a teacher's posterior of each row, float32 [K]; see cilf.training.teacher."""


@dataclass(frozen=True)
class Views:
    """Encoded rows -> what a step needs. Runs in CPU tasks that never import torch."""

    images: Images
    """What a step sees."""
    weights_K: np.ndarray
    """float32: weight of a row by its age in whole years, 0..OLDEST."""
    seed: tuple[int, ...] | None
    """Seed of the augmentation, together with a row's id: the same views wherever and whenever they are made. None: the
    images as labelling sees them, one view of each."""
    count: int = 1
    """V, views of each row."""
    oldest: float = OLDEST
    """Last year of a group that has none."""
    captions: tuple[str, ...] = ()
    """What the rows' captions are, each once."""

    def __call__(self, table: pa.Table) -> dict[str, np.ndarray]:
        """ROW, with `showing` where rows are shown more than once -> a batch.

        Returns:
            `image` uint8 [B, V, S, S, C]; `age`, `low` and `high` float32 [B], years: a group's middle, first and last
            year, all three the age where that is known; `weight` float32 [B], of a group the mean over its years;
            `caption` int64 [B], the place among `captions`, -1 where there is none; where rows have a teacher,
            `taught` float32 [B, K], its posterior.
        """
        prepare()
        low_B, high_B = bounds(table, self.oldest)
        images = [self.views(*row) for row in self.encoded(table)]
        made = {
            "image": np.stack(images) if images else np.empty((0, self.count, *self.images.shape), np.uint8),
            "age": table["age"].to_numpy().astype(np.float32),
            "low": low_B,
            "high": high_B,
            "weight": mean_of_years(self.weights_K, low_B, high_B),
            "caption": self._captioned(table),
        }
        if TAUGHT in table.column_names:
            lists = table[TAUGHT].combine_chunks()
            made[TAUGHT] = lists.flatten().to_numpy().reshape(len(lists), -1)
        return made

    def _captioned(self, table: pa.Table) -> np.ndarray:
        places = pc.index_in(table["caption"], value_set=pa.array(self.captions, pa.string()))
        return pc.fill_null(places, -1).to_numpy().astype(np.int64)

    def encoded(self, table: pa.Table) -> Iterator[tuple[str, int, pa.Scalar, pa.Scalar | None]]:
        """ROW -> what `views` takes of each."""
        bodies = table["body"] if self.images.body else [None] * len(table)
        showings = table["showing"].to_pylist() if "showing" in table.column_names else [0] * len(table)
        return zip(table["id"].to_pylist(), showings, table["image"], bodies, strict=True)

    def views(self, row_id: str, showing: int, face: pa.Scalar, body: pa.Scalar | None) -> np.ndarray:
        """One row's images, uint8 [V, S, S, C]."""
        draws: list[np.random.Generator | None] = [None]
        if self.seed is not None:
            name = int.from_bytes(hashlib.blake2b(row_id.encode(), digest_size=8).digest(), "little")
            draws = [np.random.default_rng([*self.seed, name, showing, view]) for view in range(self.count)]
        seen = self._seen(face, draws)
        return (
            np.stack(list(map(with_body, seen, self._seen_or_none(body, draws))))
            if self.images.body
            else np.stack(seen)
        )

    def _seen_or_none(self, encoded: pa.Scalar, draws: _Draws) -> list[np.ndarray] | list[None]:
        return self._seen(encoded, draws) if encoded.is_valid else [None] * len(draws)

    def _seen(self, encoded: pa.Scalar, draws: _Draws) -> list[np.ndarray]:
        """A view for each source of randomness, which None stands for where an image is to be as labelling sees it."""
        data, size = encoded.as_buffer().to_pybytes(), self.images.size
        if draws == [None]:
            return [decode(data, size, _MAX_PIXELS).crop]
        image_HWC = decode(data, round(size * MARGIN), _MAX_PIXELS).crop
        return [augment(image_HWC, size, draw) for draw in draws if draw is not None]


def showings(repeat_N: np.ndarray, content_N: np.ndarray, number: int) -> np.ndarray:
    """Times that each row is shown in an epoch, int64 [N].

    What `repeat` has behind the point decides by the row's hash, moved on from epoch to epoch by the golden section, so
    that each row comes as often as the others over any few epochs.

    Args:
        repeat_N: times per epoch, over many epochs.
        content_N: int64, a hash of each row, as in ROW.
        number: of the epoch, from 0 on.
    """
    place_N = content_N.view(np.uint64) / 2.0**64 + number * _GOLDEN
    return np.floor(repeat_N.astype(np.float64) + place_N % 1).astype(np.int64)


def shown(table: pa.Table, number: int) -> pa.Table:
    """Rows with `repeat` -> those of an epoch, each as often as `showings` has it, numbered by `showing` from 0 on."""
    times_N = showings(table["repeat"].to_numpy(), table["content"].to_numpy(), number)
    first_N = times_N.cumsum() - times_N
    rows = np.repeat(np.arange(len(table)), times_N)
    return table.take(rows).append_column("showing", pa.array(np.arange(len(rows)) - first_N[rows]))


@dataclass(frozen=True)
class Drawn:
    """ROW -> a share of the rows, the same ones each time, by the hashes of their images."""

    share: float

    def __call__(self, table: pa.Table) -> pa.Table:
        return table.filter(pa.array(table["content"].to_numpy().view(np.uint64) / 2.0**64 < self.share))


def laid_out(rows: Dataset, block_rows: int, shuffle_seed: int | None) -> list[ObjectRef]:
    """Rows in blocks of `block_rows`, in an order that only the seed decides: pyarrow tables in Ray's object store.

    One block is one worker's batch. Dealing the blocks out in turns gives two workers the same rows per step as one
    worker with twice the batch.
    """
    rows.context.execution_options.preserve_order = True
    if shuffle_seed is not None:
        rows = rows.repartition(target_num_rows_per_block=_SHUFFLED_ROWS, strict=True)
        rows = rows.random_shuffle(seed=shuffle_seed)
    rows = rows.repartition(target_num_rows_per_block=block_rows, strict=True)
    rows.context.execution_options.preserve_order = True
    return rows.materialize().to_arrow_refs()


class Dealer:
    """Lays out the rows of an epoch once for all workers; an actor. It keeps the layout that was asked for last."""

    def __init__(self) -> None:
        self._last: tuple[str, list[ObjectRef]] = "", []

    def deal(self, name: str, rows: Dataset, block_rows: int, shuffle_seed: int | None) -> list[ObjectRef]:
        """As `laid_out`; the same name stands for the same layout."""
        if self._last[0] != name:
            self._last = "", []  # lets the blocks of the last epoch go first
            self._last = name, laid_out(rows, block_rows, shuffle_seed)
        return self._last[1]


def batches(blocks: Sequence[ObjectRef], views: Views, ahead: int) -> Iterator[dict[str, np.ndarray]]:
    """The views of each block, in order, made by tasks of which `ahead` are under way.

    A pipeline of Ray Data that ends in the workers would be shorter. But its executor does not wait while the workers
    have enough to do: it goes round without end, which takes a core of its own for as long as they learn.
    """
    import ray

    task, known = ray.remote(num_cpus=TASK_CPUS)(_made), ray.put(views)
    coming = deque(task.remote(known, block) for block in blocks[:ahead])
    for block in [*blocks[ahead:], *[None] * min(ahead, len(blocks))]:
        made = ray.get(coming.popleft())
        if block is not None:
            coming.append(task.remote(known, block))
        yield made


def _made(views: Views, block: pa.Table) -> dict[str, np.ndarray]:
    return views(block)
