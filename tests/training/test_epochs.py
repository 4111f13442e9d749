"""An epoch has the same rows in the same order for any number of workers."""

import numpy as np
import pyarrow as pa
import pytest
from tiny_training import face

from cilf.card import Images, Model
from cilf.datasets.labels import OLDEST
from cilf.training.epochs import Dealer, Views, batches, laid_out, showings, shown
from cilf.training.examine import examine
from cilf.training.recipe import Source
from cilf.training.rows import read_rows


@pytest.fixture(scope="module")
def rows(ray_session, faces):
    return read_rows(Source(path=str(faces)), "train", Model())


def dealt(rows, workers, block_rows, seed=7):
    """Batches of each worker: ages and mean pixels."""
    views = Views(Images(size=16), np.ones(OLDEST + 1, np.float32), (0, 1))
    blocks = laid_out(rows.good, block_rows, seed)
    return [
        [
            sorted(zip(b["age"].tolist(), b["image"].mean(axis=(1, 2, 3, 4)).tolist(), strict=True))
            for b in batches(blocks[worker::workers], views, ahead=2)
        ]
        for worker in range(workers)
    ]


def test_two_workers_get_the_rows_of_one_with_twice_the_batch(rows):
    [one] = dealt(rows, 1, 100)
    two = dealt(rows, 2, 50)
    steps = len(rows) // 100
    assert [len(step) for step in one[:steps]] == [100] * steps
    assert one[:steps] == [sorted(a + b) for a, b in zip(*(worker[:steps] for worker in two), strict=True)]
    # If the rows do not divide evenly, every worker still has whole batches for all steps.
    assert len(rows) % 100
    assert all(len(step) == 50 for worker in two for step in worker[:steps])


def test_an_epoch_shows_every_row_once_and_each_in_another_order(rows):
    [first], [again], [other] = dealt(rows, 1, 50), dealt(rows, 1, 50), dealt(rows, 1, 50, seed=8)
    assert first == again
    assert first != other
    assert sorted(age for step in first for age, _ in step) == sorted(rows.index["age"].to_pylist())


def test_all_blocks_are_made_if_fewer_than_those_made_ahead(rows):
    [few] = dealt(rows, 1, 500)
    assert sum(map(len, few)) == len(rows)


def test_workers_who_ask_for_one_layout_get_the_same(rows):
    dealer = Dealer()
    first = dealer.deal("epoch 0", rows.good, 50, 1)
    assert dealer.deal("epoch 0", rows.good, 50, 1) is first
    assert dealer.deal("epoch 1", rows.good, 50, 2) is not first


def test_each_row_is_shown_as_often_as_the_recipe_says():
    content = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1000)
    assert (showings(np.full(1000, 3.0), content, 5) == 3).all()
    epochs = np.stack([showings(np.full(1000, 0.3), content, number) for number in range(50)])
    assert set(np.unique(epochs)) == {0, 1}
    assert np.abs(epochs.sum(axis=1) - 300).max() < 60
    assert np.abs(epochs.sum(axis=0) - 15).max() <= 2  # no row is left out for long
    assert (showings(np.full(1000, 1.3), content, 7) == epochs[7] + 1).all()


def examined():
    images = [face(30, number) for number in range(3)]
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "image": images,
            "age": pa.array([30.0, None, None]),
            "age_low": [None, 20, 70],
            "age_high": pa.array([None, 29, None], pa.int64()),
        }
    )
    rows = examine(table)
    return rows.append_column("repeat", pa.array([2.0, 1.0, 1.0], pa.float32()))


def test_a_batch_has_differing_views_and_what_is_known_of_each_row():
    rows = shown(examined(), 0)
    assert rows["id"].to_pylist() == ["a", "a", "b", "c"]
    assert rows["showing"].to_pylist() == [0, 1, 0, 0]
    captions = ("a photo of a 20 to 29 year old person", "a photo of a 30 year old person")
    views = Views(Images(size=16), np.arange(OLDEST + 1, dtype=np.float32), (0, 0), 2, 90, captions)
    batch = views(rows)
    assert batch["image"].shape == (4, 2, 16, 16, 3)
    assert len({view.tobytes() for view in batch["image"].reshape(-1, 16 * 16 * 3)}) == 8
    assert all((again == batch[name]).all() for name, again in views(rows).items())
    assert batch["low"].tolist() == [30, 30, 20, 70]
    assert batch["high"].tolist() == [30, 30, 29, 90]
    assert batch["age"].tolist() == [30, 30, 24.5, 85]
    assert batch["weight"].tolist() == [30, 30, 24.5, 80]
    assert batch["caption"].tolist() == [1, 1, 0, -1]
    assert {name: values.dtype.name for name, values in batch.items()} == {
        **dict.fromkeys(("age", "low", "high", "weight"), "float32"),
        "image": "uint8",
        "caption": "int64",
    }
    plain = Views(Images(size=16), np.ones(OLDEST + 1, np.float32), None)
    assert plain(rows)["image"].shape == (4, 1, 16, 16, 3)
    assert plain(rows.slice(0, 0))["image"].shape == (0, 1, 16, 16, 3)
