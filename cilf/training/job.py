"""`cilf train` from its options to a model folder: fit, calibrate, measure, write."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.logging import RichHandler

import cilf
from cilf.card import Card, write_card
from cilf.config import TrainOptions
from cilf.datasets.faces import read_faces
from cilf.estimator import Estimator
from cilf.evaluation.measure import estimate_all, measure
from cilf.models.checkpoint import save_model
from cilf.models.cilf import CILF
from cilf.models.corrector_fit import Plan
from cilf.training.calibrate import calibrate
from cilf.training.loop import fit, held_out_faces
from cilf.training.recipe import Recipe, read_recipe


def run(options: TrainOptions) -> int:
    """See cilf.training.train."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    recipe, folder = read_recipe(Path(options.recipe)), Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    finish(fit(recipe, folder), recipe, folder)
    return 0


def finish(model: CILF, recipe: Recipe, folder: Path) -> None:
    """Calibrate a fitted network, write the model folder, measure it as labelling will use it, and note that too."""
    held = held_out_faces(recipe)
    corrector = calibrate(model.eval(), held, Plan(), recipe.seed)
    card = Card(
        name=recipe.name,
        summary=recipe.summary,
        licence=recipe.licence,
        model=recipe.model,
        training={
            "recipe": recipe.model_dump(mode="json", exclude={"model", "name", "summary", "licence"}),
            "cilf": cilf.__version__,
            "held_out_faces": len(held),
        },
    )
    save_model(model, card, folder, corrector)

    estimator = Estimator(folder)
    chosen = read_faces(recipe.data.path, recipe.data.choose, estimator.image_size)
    figures = measure(estimate_all(estimator, chosen.images_NHWC), chosen.ages_N)
    on = f"{Path(recipe.data.path).name}, split={recipe.data.choose}"
    write_card(estimator.card.model_copy(update={"figures": {on: figures}}), folder)
    print(f"{folder}: MAE {figures['mae']:.2f} years, CS(5) {figures['cs5']:.1f} % on {on}")
