"""`cilf train` from its options to a model folder: read, fit, calibrate, measure, write."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.logging import RichHandler

import cilf
from cilf.card import CARD_FILE, WEIGHTS_FILE, Card, write_card
from cilf.cluster import Cluster, check_everywhere, running
from cilf.config import TrainOptions
from cilf.datasets.faces import FaceSet
from cilf.datasets.labels import OLDEST
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.evaluation.job import Evaluation, evaluate_model
from cilf.models.checkpoint import count_parameters, save_model
from cilf.models.corrector import Corrector
from cilf.models.corrector_fit import Plan
from cilf.models.network import Network
from cilf.models.systems import build_network
from cilf.storage import Location, locate, read, write
from cilf.training.calibrate import calibrate, check_subjects, correction_table
from cilf.training.epochs import age_weights
from cilf.training.out_of_fold import out_of_fold
from cilf.training.recipe import Data, Recipe, read_recipe
from cilf.training.rows import (
    Rows,
    check_groups,
    check_share,
    fitted_rows,
    read_rows,
    subject_keys,
    subject_numbers,
)
from cilf.training.run_folder import METRICS_FILE, RECIPE_FILE, prepare, write_bad_rows
from cilf.training.start import Weights, mix, start_weights
from cilf.training.trainer import train, worker_resources

logger = logging.getLogger(__name__)


def run(options: TrainOptions) -> int:
    """See cilf.training.train."""
    recipe = read_recipe(Path(options.recipe), None if options.system is None else Path(options.system))
    output = locate(options.output)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)], force=True)
    evaluation = train_recipe(recipe, output, options.cluster)
    Console(highlight=False).print(evaluation.terminal())
    speed = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in _speed(output).items())
    print(f"training: {speed or 'none'}\nthe model, its evaluation and the run's measurements are in {output.url}")
    return 0


def train_recipe(recipe: Recipe, output: Location, address: str | None) -> Evaluation:
    """Train, or go on with the run that is there; write the model folder and measure it.

    Args:
        recipe: the run.
        output: its folder.
        address: of the Ray cluster to run on; None: Ray is started on this machine, if it does not run yet.
    """
    start = start_weights(recipe)
    # Or it fails before it starts. Where nothing is learned, these are the weights.
    model = build_network(recipe.model, deployed=start is not None, load_weights=not recipe.epochs)
    prepare(recipe, output)
    with running(address) as cluster:
        worker_resources(recipe, cluster)
        check_everywhere((output / RECIPE_FILE).url)
        return _run(recipe, model, start, output, cluster)


def _run(recipe: Recipe, model: Network, start: Weights | None, output: Location, cluster: Cluster) -> Evaluation:
    data = recipe.data
    known = read_rows(data.path, data.fit, recipe.model)
    chosen = read_rows(data.choose_path or data.path, data.choose, recipe.model)
    write_bad_rows(output, known.bad + chosen.bad)
    for rows, url in ((known, data.path), (chosen, data.choose_path or data.path)):
        check_share(rows, url)
        check_ranks(recipe, rows, url)
    check_groups(known, chosen, data.choose_path or data.path)
    fitted_N = fitted_rows(known.index, recipe.held_out, recipe.seed)
    keys = subject_keys(known.index)
    fitted, held_out = (len(keys.filter(mask).unique()) for mask in (fitted_N, ~fitted_N))
    check_subjects(held_out, fitted, bool(recipe.folds))
    fit = known.of(keys.filter(fitted_N)).materialize()
    held = known.of(keys.filter(~fitted_N))
    ages_N = known.index.filter(fitted_N)["age"].to_numpy()
    weights_K = age_weights(ages_N, recipe.balance, OLDEST)
    logger.info(
        "%d faces to learn from, %d held out to calibrate on, %d to choose by; %d rows left out",
        *(int(fitted_N.sum()), int((~fitted_N).sum()), len(chosen), len(known.bad) + len(chosen.bad)),
    )
    if recipe.epochs:
        average = train(recipe, start, fit, ages_N, chosen.good, weights_K, output, cluster)
        model.load_state_dict(average, strict=False)
    model.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last).eval()
    model.cache_text()
    model.unweigh(torch.from_numpy(weights_K))
    if start is not None:
        mix(model, start, recipe.start_share)

    plan, folds, subjects = Plan(decode=model.decode), None, keys.unique()
    if recipe.folds:
        logger.info("fitting %d folds for the error model", recipe.folds)
        folds = out_of_fold(recipe, fit, keys.filter(fitted_N), subjects, weights_K, plan.max_views, cluster)
    held_rows = pa.concat_tables(held.iter_batches(batch_size=None, batch_format="pyarrow"))
    table = correction_table(model, held_rows, subject_numbers(held_rows, subjects), plan.max_views)
    corrector = calibrate(model, table, folds, plan, recipe.seed)
    logger.info("calibrated on %d faces; correction %s", len(table), corrector.constants.moving)
    card = Card(
        name=recipe.name,
        summary=recipe.summary,
        licence=recipe.licence,
        model=recipe.model,
        training={
            "recipe": recipe.model_dump(mode="json", exclude={"model", "name", "summary", "licence"}),
            "cilf": cilf.__version__,
            "fitted_faces": int(fitted_N.sum()),
            "held_out_faces": len(table),
            "rows_left_out": len(known.bad) + len(chosen.bad),
            "parameters": count_parameters(model),
            "speed": _speed(output),
        },
    )
    return deliver(model, card, corrector, known, chosen, data, output)


def check_ranks(recipe: Recipe, rows: Rows, url: str) -> None:
    """Stop where labels are none of the ranks that the recipe names: held inside the range, they would teach wrongly.

    Raises:
        UsageError: a label is no whole number, or not from youngest to oldest.
    """
    ages, label_N = recipe.model.ages, rows.index["age"].to_numpy()
    wrong_N = (label_N < ages.youngest) | (label_N > ages.oldest) | (label_N != np.rint(label_N))
    if ages.names is not None and wrong_N.any():
        raise UsageError(
            f"{wrong_N.sum()} of {len(rows)} rows of {url} have labels that are none of the {len(ages.names)} ranks "
            f"{ages.youngest} to {ages.oldest} which model.ages names (the first: {label_N[wrong_N][0]:g})"
        )


def deliver(
    model: Network, card: Card, corrector: Corrector, known: Rows, chosen: Rows, data: Data, output: Location
) -> Evaluation:
    """Write the model folder, measure it as labelling will use it, and put the figures on its card."""
    with tempfile.TemporaryDirectory(prefix="cilf-model-") as scratch:
        folder = Path(scratch)
        save_model(model, card, folder, corrector)
        estimator = Estimator(folder)
        faces = _face_set(known, chosen, data, folder)
        evaluation = evaluate_model(estimator, faces, learned=known.index["subject"].to_pylist())
        on = f"{(data.choose_path or data.path).rstrip('/').rpartition('/')[2]}, split={data.choose}"
        write_card(estimator.card.model_copy(update={"figures": {on: evaluation.figures}}), folder)
        for name in (WEIGHTS_FILE, CARD_FILE):
            write(output / name, (folder / name).read_bytes())
        evaluation.write(output.url)
    return evaluation


def _face_set(known: Rows, chosen: Rows, data: Data, scratch: Path) -> FaceSet:
    """The rows to choose by, for evaluation: with sex and race where their Parquet files tell."""
    if data.choose is not None:
        with suppress(UsageError):
            return FaceSet(data.choose_path or data.path, data.choose)
    rows = pa.concat_tables(chosen.good.iter_batches(batch_size=None, batch_format="pyarrow"))
    tables = {data.choose or "all": rows, "learned from": known.index}  # whose age groups count too
    of_split = [table.append_column("split", pa.repeat(name, len(table))) for name, table in tables.items()]
    labelled = pa.concat_tables(of_split, promote_options="default")
    # Where there was a group, the age is its middle.
    ages = pc.if_else(pc.is_null(labelled["age_low"]), labelled["age"], pa.scalar(None, pa.float32()))
    labelled = labelled.set_column(labelled.column_names.index("age"), "age", ages)
    pq.write_table(labelled, scratch / "rows.parquet")
    return FaceSet(str(scratch / "rows.parquet"), data.choose or "all")


def _speed(output: Location) -> dict[str, float]:
    """Means over the epochs; nothing where there were none."""
    epochs = [line for line in map(json.loads, (read(output / METRICS_FILE) or b"").splitlines()) if "epoch" in line]
    names = ("images_per_s", "waiting_for_data", "scaling_efficiency")
    return {n: float(np.mean([row[n] for row in epochs if n in row])) for n in names if any(n in r for r in epochs)}
