"""`cilf train` from its options to a model folder: read, fit, calibrate, measure, write."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import suppress
from dataclasses import replace
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
from cilf.models.corrector_fit import Plan, fit_corrector
from cilf.models.network import Network
from cilf.models.second import SecondNetwork
from cilf.models.systems import build_network
from cilf.storage import Location, locate, read, write
from cilf.training.balance import age_weights
from cilf.training.calibrate import BATCH, correction_table, crops
from cilf.training.epochs import Views
from cilf.training.examine import ROW
from cilf.training.image_init import FACES, init_image, trunk_weights
from cilf.training.material import Material, gather
from cilf.training.recipe import Recipe, Source, read_recipe
from cilf.training.rows import Rows
from cilf.training.run_folder import METRICS_FILE, RECIPE_FILE, prepare
from cilf.training.second_look import fit_head, second_network
from cilf.training.start import SEEN, Weights, check_unseen, learned_from, mix, start_weights
from cilf.training.survey import survey
from cilf.training.teacher import TeacherNetwork, taught, teacher_network
from cilf.training.trainer import train, worker_resources

logger = logging.getLogger(__name__)


def run(options: TrainOptions) -> int:
    """See cilf.training.train."""
    recipe = read_recipe(Path(options.recipe), None if options.system is None else Path(options.system))
    output = locate(options.output)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)], force=True)
    for evaluation in train_recipe(recipe, output, options.cluster):
        Console(highlight=False).print(evaluation.terminal())
    speed = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in _speed(output).items())
    print(f"training: {speed or 'none'}\nthe model, its evaluation and the run's measurements are in {output.url}")
    return 0


def train_recipe(recipe: Recipe, output: Location, address: str | None) -> list[Evaluation]:
    """Train, or go on with the run that is there; write the model folder and measure it.

    Args:
        recipe: the run.
        output: its folder.
        address: of the Ray cluster to run on; None: Ray is started on this machine, if it does not run yet.
    """
    start = start_weights(recipe)
    # Or it fails before it starts. Where nothing is learned, these are the weights.
    model = build_network(recipe.model, deployed=start is not None, load_weights=not recipe.epochs)
    init_image(model, recipe)
    second = second_network(recipe)
    teacher = teacher_network(recipe)
    survey(recipe)
    prepare(recipe, output)
    logger.info("starting Ray" if address is None else "connecting to Ray")
    with running(address) as cluster:
        worker_resources(recipe, cluster)
        check_everywhere((output / RECIPE_FILE).url)
        return _run(recipe, model, second, teacher, start, output, cluster)


def _run(
    recipe: Recipe,
    model: Network,
    second: SecondNetwork | None,
    teacher: TeacherNetwork | None,
    start: Weights | None,
    output: Location,
    cluster: Cluster,
) -> list[Evaluation]:
    material = gather(recipe, output)
    check_unseen(recipe, material.held_index["content"])
    weights_K = age_weights(*material.bounds, material.fitted["repeat"].to_numpy(), recipe.balance, OLDEST)
    logger.info(
        "%d faces to learn from, %d held out to calibrate on, %d to choose by; %d rows left out",
        *(len(material.fitted), len(material.held_index), material.chosen, material.left_out),
    )
    if recipe.epochs:
        if teacher is not None:
            logger.info("asking the teacher about %d faces: some minutes on a CPU", len(material.fitted))
            material = replace(material, fit=taught(material.fit, teacher, recipe, weights_K))
        logger.info("starting %s workers for %d epochs", recipe.workers, recipe.epochs)
        trunk = trunk_weights(model, recipe, lambda: _faces(material, recipe))
        model.read_captions(material.captions)  # the workers' networks have, and hold no other words' embeddings
        model.load_state_dict(train(recipe, start, trunk, material, weights_K, output, cluster))
    model.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last).eval()
    model.cache_text()
    model.unweigh(torch.from_numpy(weights_K))
    if start is not None:
        mix(model, start, recipe.start_share)

    if second is not None and recipe.second is not None:
        logger.info("fitting the head of the second network")
        fit_head(second, recipe, material, next(model.parameters()).device)
    logger.info("calibrating on %d faces", len(material.held_index))
    held = material.held.iter_batches(batch_size=BATCH, batch_format="pyarrow")
    table = correction_table(model, held, material.subjects, second, recipe.seed, recipe.dtype)
    corrector = fit_corrector(model.ages, table, Plan(decode=model.decode), recipe.seed)
    logger.info(
        "calibrated; second look %s; moving estimates %s", corrector.constants.second_look, corrector.constants.moving
    )
    card = Card(
        name=recipe.name,
        summary=recipe.summary,
        licence=recipe.licence,
        model=recipe.model,
        training={
            "recipe": recipe.model_dump(mode="json", exclude={"model", "name", "summary", "licence"}),
            "cilf": cilf.__version__,
            "fitted_faces": len(material.fitted),
            "held_out_faces": len(material.held_index),
            "rows_left_out": material.left_out,
            "parameters": count_parameters(model),
            "captions": {"different": len(material.captions), "examples": material.captions[:3]},
            "speed": _speed(output),
            SEEN: learned_from(recipe, material.fitted["content"]),
        },
    )
    return deliver(model, card, corrector, second, material, output)


def _faces(material: Material, recipe: Recipe) -> np.ndarray:
    """A few faces to learn from as labelling sees them, uint8 [N, S, S, C]."""
    return crops(material.first(FACES), Views(recipe.model.images, np.ones(OLDEST + 1, np.float32), None))


def deliver(
    model: Network,
    card: Card,
    corrector: Corrector,
    second: SecondNetwork | None,
    material: Material,
    output: Location,
) -> list[Evaluation]:
    """Write the model folder, measure it as labelling will use it, and put the figures on its card.

    Returns:
        How good it is on the rows to choose by of each source that has some. The first is in `output`, each further
        one in a folder there.
    """
    with tempfile.TemporaryDirectory(prefix="cilf-model-") as scratch:
        folder = Path(scratch)
        save_model(model, card, folder, corrector, second)
        estimator = Estimator(folder)
        learned = [who for part in material.parts for who in part.known.index["subject"].to_pylist()]
        evaluations, figures = [], {}
        for part, chosen in material.measured:
            faces = _face_set(part.source, part.known, chosen, folder)
            logger.info("measuring on %d faces of %s", faces.rows, part.source.path)
            evaluations.append(evaluate_model(estimator, faces, learned=learned))
            figures[_name(part.source)] = evaluations[-1].figures
        write_card(estimator.card.model_copy(update={"figures": figures}), folder)
        for name in (WEIGHTS_FILE, CARD_FILE):
            write(output / name, (folder / name).read_bytes())
        write(output / PAGE_FILE, page(read_card(folder)).encode())
    for place, evaluation in zip(_places(material, output), evaluations, strict=True):
        evaluation.write(place.url)
    return evaluations


def _name(source: Source) -> str:
    """What its rows to choose by are called on the card."""
    return f"{source.path.rstrip('/').rpartition('/')[2]}, split={source.choose}"


def _places(material: Material, output: Location) -> list[Location]:
    return [output / f"evaluation-{number}" if number else output for number in range(len(material.measured))]


def _face_set(source: Source, known: Rows, chosen: Rows, scratch: Path) -> FaceSet:
    """The rows to choose by, for evaluation: with sex and race where their Parquet files tell."""
    split = str(source.choose)
    with suppress(UsageError):
        return FaceSet(source.path, split, source.find)
    schema = ROW.append(pa.field("split", pa.string()))
    with pq.ParquetWriter(scratch / "rows.parquet", schema) as file:
        for rows in chosen.good.iter_batches(batch_size=None, batch_format="pyarrow"):
            file.write_table(_of_split(rows, split, schema))
        file.write_table(_of_split(known.index, "learned from", schema))  # whose age groups count too
    return FaceSet(str(scratch / "rows.parquet"), split)


def _of_split(rows: pa.Table, split: str, schema: pa.Schema) -> pa.Table:
    """Rows as FaceSet reads them: where there was a group there is no age, instead of its middle."""
    ages = pc.if_else(pc.is_null(rows["age_low"]), rows["age"], pa.scalar(None, pa.float32()))
    columns = {"age": ages, "split": pa.repeat(split, len(rows))}
    nothing = pa.nulls(len(rows))
    known = [columns.get(name, rows[name] if name in rows.column_names else nothing) for name in schema.names]
    return pa.table(known, names=schema.names).cast(schema)


def _speed(output: Location) -> dict[str, float]:
    """Means over the epochs; nothing where there were none."""
    epochs = [line for line in map(json.loads, (read(output / METRICS_FILE) or b"").splitlines()) if "epoch" in line]
    names = ("images_per_s", "waiting_for_data", "scaling_efficiency")
    return {n: float(np.mean([row[n] for row in epochs if n in row])) for n in names if any(n in r for r in epochs)}
