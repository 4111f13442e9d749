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
from cilf.card import CARD_FILE, WEIGHTS_FILE, Card, read_card, write_card
from cilf.cluster import Cluster, check_everywhere, running
from cilf.config import TrainOptions
from cilf.datasets.faces import FaceSet
from cilf.datasets.labels import OLDEST
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.evaluation.job import Evaluation, evaluate_model
from cilf.model_card.page import PAGE_FILE, page
from cilf.models.checkpoint import count_parameters, save_model
from cilf.models.corrector import Corrector
from cilf.models.corrector_fit import Plan
from cilf.models.network import Network
from cilf.models.systems import build_network
from cilf.storage import Location, locate, read, write
from cilf.training.calibrate import calibrate, correction_table
from cilf.training.epochs import age_weights
from cilf.training.material import Material, gather
from cilf.training.out_of_fold import out_of_fold
from cilf.training.recipe import Data, Recipe, read_recipe
from cilf.training.rows import Rows, subject_keys, subject_numbers
from cilf.training.run_folder import METRICS_FILE, RECIPE_FILE, prepare
from cilf.training.start import SEEN, Weights, check_unseen, learned_from, mix, start_weights
from cilf.training.survey import survey
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
    survey(recipe)
    prepare(recipe, output)
    logger.info("starting Ray" if address is None else "connecting to Ray")
    with running(address) as cluster:
        worker_resources(recipe, cluster)
        check_everywhere((output / RECIPE_FILE).url)
        return _run(recipe, model, start, output, cluster)


def _run(recipe: Recipe, model: Network, start: Weights | None, output: Location, cluster: Cluster) -> Evaluation:
    material = gather(recipe, output)
    check_unseen(recipe, material.held_index["content"])
    weights_K = age_weights(material.ages_N, recipe.balance, OLDEST)
    logger.info(
        "%d faces to learn from, %d held out to calibrate on, %d to choose by; %d rows left out",
        *(len(material.fitted), len(material.held_index), len(material.chosen), material.left_out),
    )
    if recipe.epochs:
        logger.info("starting %s workers for %d epochs", recipe.workers, recipe.epochs)
        model.load_state_dict(train(recipe, start, material, weights_K, output, cluster))
    model.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last).eval()
    model.cache_text()
    model.unweigh(torch.from_numpy(weights_K))
    if start is not None:
        mix(model, start, recipe.start_share)

    plan, folds, subjects = Plan(decode=model.decode), None, material.subjects
    if recipe.folds:
        logger.info("fitting %d folds for the error model", recipe.folds)
        keys = subject_keys(material.fitted)
        folds = out_of_fold(recipe, material.fit, keys, subjects, weights_K, plan.max_views, cluster)
    logger.info("calibrating on %d faces", len(material.held_index))
    held_rows = pa.concat_tables(material.held.iter_batches(batch_size=None, batch_format="pyarrow"))
    table = correction_table(model, held_rows, subject_numbers(held_rows, subjects), plan.max_views)
    corrector = calibrate(model, table, folds, plan, recipe.seed)
    logger.info("calibrated; correction %s", corrector.constants.moving)
    card = Card(
        name=recipe.name,
        summary=recipe.summary,
        licence=recipe.licence,
        model=recipe.model,
        training={
            "recipe": recipe.model_dump(mode="json", exclude={"model", "name", "summary", "licence"}),
            "cilf": cilf.__version__,
            "fitted_faces": len(material.fitted),
            "held_out_faces": len(table),
            "rows_left_out": material.left_out,
            "parameters": count_parameters(model),
            "speed": _speed(output),
            SEEN: learned_from(recipe, material.fitted["content"]),
        },
    )
    return deliver(model, card, corrector, material, recipe.data, output)


def deliver(
    model: Network, card: Card, corrector: Corrector, material: Material, data: Data, output: Location
) -> Evaluation:
    """Write the model folder, measure it as labelling will use it, and put the figures on its card."""
    with tempfile.TemporaryDirectory(prefix="cilf-model-") as scratch:
        folder = Path(scratch)
        save_model(model, card, folder, corrector)
        estimator = Estimator(folder)
        faces = _face_set(material.known, material.chosen, data, folder)
        learned = [*material.known.index["subject"].to_pylist(), *material.fitted["subject"].to_pylist()]
        logger.info("measuring on %d faces", faces.rows)
        evaluation = evaluate_model(estimator, faces, learned=learned)
        on = f"{(data.choose_path or data.path).rstrip('/').rpartition('/')[2]}, split={data.choose}"
        write_card(estimator.card.model_copy(update={"figures": {on: evaluation.figures}}), folder)
        for name in (WEIGHTS_FILE, CARD_FILE):
            write(output / name, (folder / name).read_bytes())
        write(output / PAGE_FILE, page(read_card(folder)).encode())
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
