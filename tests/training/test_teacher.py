"""The teacher judges faces by heads that have not seen them, inside what is known of them."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_training import RECIPE

from cilf.age_space import AgeSpace
from cilf.card import Model
from cilf.training.epochs import TAUGHT, Views
from cilf.training.recipe import Recipe, Source
from cilf.training.rows import read_rows
from cilf.training.teacher import FOLDS, SEEN, fit_heads, folds, judged, taught

AGES = AgeSpace(0, 100)
EVEN = np.ones(101, np.float32)


def table(ages, features, groups=None, subjects=None):
    count = len(ages)
    low, high = groups or ([None] * count, [None] * count)
    return pa.table(
        {
            "id": [f"face-{number}" for number in range(count)],
            "subject": pa.array(subjects or [None] * count, pa.string()),
            "age": pa.array(ages, pa.float32()),
            "age_low": pa.array(low, pa.float32()),
            "age_high": pa.array(high, pa.float32()),
            SEEN: pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), features.shape[1]),
        }
    )


def posteriors(rows):
    return np.array(rows[TAUGHT].to_pylist())


def errors(rows, heads, ages):
    medians = AGES.median(torch.tensor(posteriors(judged(rows, heads, EVEN, AGES, 100)), dtype=torch.float32))
    return np.abs(medians.numpy() - ages).mean()


def test_ages_that_features_tell_are_judged_rightly():
    rng = np.random.default_rng(0)
    ages = rng.integers(5, 90, 4000)
    features = np.stack([ages / 10, rng.normal(size=4000)], axis=1)
    rows = table(ages, features)
    assert errors(rows, fit_heads(rows, AGES, 100, seed=0), ages) < 5


def test_nobody_is_judged_by_a_head_that_has_seen_them():
    rng = np.random.default_rng(1)
    people = np.arange(300)
    ages = rng.integers(0, 100, 300)
    features = rng.normal(size=(300, 64))  # tell people apart, and nothing else
    often = np.tile(people, 10)
    rows = table(ages[often], features[often], subjects=[f"person-{n}" for n in often])
    heads = fit_heads(rows, AGES, 100, seed=0)
    other_heads = heads[1:] + heads[:1]  # each of which has seen the fold that it judges now
    assert errors(rows, heads, ages[often]) > 20
    assert errors(rows, other_heads, ages[often]) < 12


def test_all_rows_of_a_person_are_in_one_fold():
    rows = table([1.0] * 40, np.zeros((40, 2)), subjects=[f"person-{number % 10}" for number in range(40)])
    fold_N = folds(rows)
    assert np.array_equal(fold_N[:10], fold_N[10:20])
    assert set(folds(table([1.0] * 200, np.zeros((200, 2))))) == set(range(FOLDS))


def test_of_a_group_the_posterior_is_inside_it():
    rng = np.random.default_rng(2)
    ages = rng.integers(10, 80, 400)
    features = np.stack([ages / 10, rng.normal(size=400)], axis=1)
    exact = table(ages, features)
    heads = fit_heads(exact, AGES, 100, seed=0)
    low = np.where(ages < 70, ages // 10 * 10, 70)
    grouped = table(low + 5.0, features, (low.tolist(), [None if b == 70 else b + 9 for b in low]))
    posterior_NK = posteriors(judged(grouped, heads, EVEN, AGES, 100))
    years = np.arange(101)
    last = np.where(low == 70, 100, low + 9)
    outside = (years < low[:, None]) | (years > last[:, None])
    assert posterior_NK[outside].max() == 0
    assert posterior_NK.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_it_is_the_posterior_of_rows_that_count_as_training_counts_them():
    rows = table([30.0] * 20, np.zeros((20, 2)))
    heads = fit_heads(rows, AGES, 100, seed=0)
    weights = np.linspace(0.5, 2.5, 101, dtype=np.float32)
    even, weighted = (posteriors(judged(rows, heads, each, AGES, 100)) for each in (EVEN, weights))
    expected = even * weights / (even * weights).sum(axis=1, keepdims=True)
    assert weighted == pytest.approx(expected, rel=1e-3)


def test_rows_to_learn_from_carry_it_into_their_batches(ray_session, faces):
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": str(faces)}})
    rows = read_rows(Source(path=str(faces)), "train", Model())
    with_it = taught(rows.good, torch.nn.Flatten(), recipe, np.ones(121, np.float32))
    table = pa.concat_tables(with_it.iter_batches(batch_size=None, batch_format="pyarrow"))
    assert table.column_names == [*rows.good.columns(), TAUGHT]
    assert sorted(table["id"].to_pylist()) == sorted(rows.index["id"].to_pylist())
    batch = Views(recipe.model.images, np.ones(121, np.float32), (0, 0), 2)(table)
    assert batch[TAUGHT].shape == (len(table), len(recipe.model.ages.space))
    assert batch[TAUGHT].sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert np.array_equal(batch[TAUGHT], posteriors(table).astype(np.float32))
