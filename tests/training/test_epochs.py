"""An epoch is the same rows in the same order, however many workers share it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cilf.card import Images, Model
from cilf.datasets.labels import OLDEST
from cilf.training.epochs import Views, age_weights, epoch
from cilf.training.recipe import Source
from cilf.training.rows import read_rows


@pytest.fixture(scope="module")
def rows(ray_session, faces):
    return read_rows(Source(path=str(faces)), "train", Model())


def dealt(rows, workers, block_rows, seed=7):
    """Batches of each worker: ages and mean pixel."""
    views = Views(Images(size=16), np.ones(OLDEST + 1, np.float32), (0, 1))
    parts = epoch(rows.good, views, block_rows, seed).streaming_split(workers, equal=False)

    def read(part):
        batches = part.iter_batches(batch_size=block_rows, batch_format="numpy")
        return [sorted(zip(b["age"].tolist(), b["image"].mean(axis=(1, 2, 3)).tolist(), strict=True)) for b in batches]

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(read, parts))


def test_two_workers_see_what_one_with_twice_the_batch_sees(rows):
    [one] = dealt(rows, 1, 100)
    two = dealt(rows, 2, 50)
    steps = len(rows) // 100
    assert [len(step) for step in one[:steps]] == [100] * steps
    assert one[:steps] == [sorted(a + b) for a, b in zip(*(worker[:steps] for worker in two), strict=True)]
    # Rows that do not divide leave every worker with whole batches for all steps.
    assert len(rows) % 100
    assert all(len(step) == 50 for worker in two for step in worker[:steps])


def test_an_epoch_shows_every_row_once_and_each_in_another_order(rows):
    [first], [again], [other] = dealt(rows, 1, 50), dealt(rows, 1, 50), dealt(rows, 1, 50, seed=8)
    assert first == again
    assert first != other
    assert sorted(age for step in first for age, _ in step) == sorted(rows.index["age"].to_pylist())


def test_rare_ages_weigh_more_within_bounds_and_the_mean_is_one():
    ages = np.array([30.0] * 900 + [80.0] * 100)
    weights = age_weights(ages, 0.5, OLDEST)
    assert weights[80] > 2 * weights[30]
    assert weights[ages.astype(int)].mean() == pytest.approx(1)
    assert weights.max() / weights.min() <= 5.01
    assert np.allclose(age_weights(ages, 0.0, OLDEST), 1)
