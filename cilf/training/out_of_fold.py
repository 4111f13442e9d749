"""Out-of-fold predictions: each subject judged by a model that has not seen it. Folds are fitted as parallel tasks.

On the rows it was fitted to a model errs far too little to teach anything about its errors on others.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from sklearn.model_selection import GroupKFold

from cilf.cluster import Cluster
from cilf.models.corrector_fit import CorrectionTable
from cilf.training.calibrate import correction_table
from cilf.training.epochs import Views
from cilf.training.learner import Learner
from cilf.training.recipe import Recipe
from cilf.training.rows import subject_numbers

if TYPE_CHECKING:
    from ray.data import Dataset


def out_of_fold(
    recipe: Recipe,
    fit: Dataset,
    keys_N: pa.Array,
    subjects: pa.Array,
    weights_K: np.ndarray,
    max_views: int,
    cluster: Cluster,
) -> CorrectionTable:
    """Predictions of all rows to learn from, each by the model of the fold without its subject.

    Args:
        recipe: its `folds` says how many.
        fit: materialised rows, cilf.training.rows.ROW.
        keys_N: the `subject_keys` of those rows, in any order.
        subjects: all keys; their places in it are the numbers of the subjects.
        weights_K: as in Views.
        max_views: views that correction may ask for.
        cluster: shared by the folds: as many run at once as there is room for.
    """
    import ray

    number_N = pc.index_in(keys_N, value_set=subjects).to_numpy()
    fold_S = np.full(len(subjects), -1)
    for fold, (_, rows) in enumerate(
        GroupKFold(recipe.folds, shuffle=True, random_state=recipe.seed).split(number_N, groups=number_N)
    ):
        fold_S[number_N[rows]] = fold
    room: dict[str, Any] = {"num_gpus": 1} if cluster.gpus else {"num_cpus": max(1, cluster.cpus // recipe.folds)}
    blocks, known = fit.to_arrow_refs(), ray.put((subjects, fold_S))
    tasks = [
        ray.remote(fit_fold).options(**room).remote(recipe, blocks, known, fold, weights_K, max_views)
        for fold in range(recipe.folds)
    ]
    return CorrectionTable.concatenated(ray.get(tasks))


def fit_fold(
    recipe: Recipe,
    blocks: list[Any],
    known: tuple[pa.Array, np.ndarray],
    fold: int,
    weights_K: np.ndarray,
    max_views: int,
) -> CorrectionTable:
    """Fit on all rows but a fold's, and predict the fold's. `known` is the subjects and the fold of each."""
    import ray

    rows = pa.concat_tables(ray.get(blocks))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    subjects, fold_S = known
    number_N = subject_numbers(rows, subjects)
    seen, unseen = np.flatnonzero(fold_S[number_N] != fold), np.flatnonzero(fold_S[number_N] == fold)
    steps = len(seen) // recipe.batch_size
    learner = Learner(recipe, device, max(1, steps), ages_N=rows["age"].to_numpy()[seen])
    with ThreadPoolExecutor(1) as ahead:
        for epoch in range(recipe.epochs):
            views = Views(recipe.images(epoch), weights_K, (recipe.seed, epoch))
            order = np.random.default_rng([recipe.seed, fold, epoch]).permutation(seen)
            batches = np.split(order[: steps * recipe.batch_size], max(1, steps))
            for made in _ahead(ahead, views, rows, batches):
                portion = {name: torch.from_numpy(value).to(device) for name, value in made.items()}
                learner.learn([portion], first_epoch=epoch == 0)
            show_after(learner, rows, order, Views(recipe.images(epoch), weights_K, None))
    with learner.averaged(), torch.inference_mode():
        learner.model.cache_text()
        learner.model.unweigh(torch.from_numpy(weights_K))
        return correction_table(learner.model, rows.take(unseen), number_N[unseen], max_views).to("cpu")


def show_after(learner: Learner, rows: pa.Table, order: np.ndarray, views: Views) -> None:
    """Show the network the rows that it wants to see after an epoch."""
    shown = order[: learner.model.rows_after_epoch]
    if len(shown):
        size, device = learner.recipe.batch_size, learner.device

        def batches() -> Iterator[dict[str, torch.Tensor]]:
            for start in range(0, len(shown), size):
                made = views(rows.take(shown[start : start + size]))
                yield {name: torch.from_numpy(value).to(device) for name, value in made.items()}

        learner.after_epoch(batches)


def _ahead(pool: ThreadPoolExecutor, views: Views, rows: pa.Table, batches: list[np.ndarray]) -> Any:
    """The batches' views, each made while the one before is learned from."""
    coming = pool.submit(views, rows.take(batches[0]))
    for batch in batches[1:]:
        made, coming = coming.result(), pool.submit(views, rows.take(batch))
        yield made
    yield coming.result()
