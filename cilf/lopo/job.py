"""`cilf lopo` from its options to its files. What is finished stays, and is not done again."""

from __future__ import annotations

import hashlib
import math
import time

import pyarrow as pa
import torch
from rich.console import Console

from cilf.cluster import running
from cilf.config import LopoOptions
from cilf.errors import UsageError
from cilf.images.faces import FACES_VERSION
from cilf.lopo.features import VIEWS, Frozen
from cilf.lopo.fold import judged_rows
from cilf.lopo.heads import SYSTEMS
from cilf.lopo.material import Material
from cilf.lopo.people import People, read_people
from cilf.lopo.results import FILES, results
from cilf.lopo.work import Work
from cilf.models.checkpoint import load_model
from cilf.models.cilf import CILF
from cilf.models.corrector import Corrector
from cilf.models.evidence import Predictions
from cilf.own_files import check_results
from cilf.provenance import fingerprint
from cilf.storage import CHECKING, check_output, locate, model_folder

VERSION = 1
"""Raised whenever the same photographs may give other figures."""

AS_IT_IS = "as_it_is"
"""The model itself, of which nothing was fitted to these people."""


def run(options: LopoOptions) -> int:
    """See cilf.lopo.lopo."""
    started = time.perf_counter()
    folder = model_folder(options.model)
    model, corrector, card = load_model(folder)
    if not isinstance(model, CILF):
        raise UsageError(f"{options.model} is a {type(model).__name__}; heads stand on a CILF-CIAE's frozen features")
    output = locate(options.output, CHECKING)
    check_output(output)
    people = read_people(options.data)
    made_of = (fingerprint(folder, {"faces": FACES_VERSION, "views": VIEWS}), people.digest, options.seed, VERSION)
    work = Work(output / "work" / hashlib.sha256(repr(made_of).encode()).hexdigest()[:12])
    if not work.begun:
        check_results(output, FILES, "learned_from", "systems")
    systems = tuple(dict.fromkeys(options.systems)) or SYSTEMS
    with running(options.cluster) as cluster:
        frozen = work.features(folder, people)
        material = _material(model, frozen, people, options.seed)
        estimates = work.folds(material, work.rates(material, systems))
    if corrector is not None:
        estimates = {AS_IT_IS: _as_it_is(corrector, frozen, card.model.mirrored), **estimates}
    found = results(people, frozen.found_N, estimates)
    found.record.update(
        {
            "model": card.name,
            "learned_from": card.summary,
            "data": options.data,
            "seed": options.seed,
            "rates": work.tried,
            "run": {
                "seconds": time.perf_counter() - started,
                "fits_done": work.done,
                "fits_found": work.found,
                "cpus": cluster.cpus,
            },
        }
    )
    found.write(output)
    Console(highlight=False).print(found.terminal())
    print(f"lopo.md, lopo.csv, lopo.json, lopo.png and estimates.parquet are in {output.url}")
    return 0


def _material(model: CILF, frozen: Frozen, people: People, seed: int) -> Material:
    with torch.inference_mode():
        text_KC = model.text_vectors().numpy()
        scale = float(model.match_scale.clamp(max=math.log(100)).exp())
    ages = model.ages
    return Material(frozen.x_NVMX, people.ages_N, people.subjects_N, text_KC, scale, ages.youngest, ages.oldest, seed)


def _as_it_is(corrector: Corrector, frozen: Frozen, mirrored: bool) -> pa.Table:
    """The model's own estimates with its own correction, as labelling has them.

    Args:
        mirrored: whether a view counts together with its mirror image, or that is the next view.
    """
    both = [torch.from_numpy(x_NVMX) for x_NVMX in (frozen.posterior_NVMK, frozen.others_NVMD)]
    probs_NVK, others_NVD = (x_NVMX.mean(dim=2) if mirrored else x_NVMX.flatten(1, 2) for x_NVMX in both)

    def predict(rows: torch.Tensor, first: int, count: int) -> Predictions:
        return Predictions(probs_NVK[rows, first : first + count], others_NVD[rows, first : first + count])

    everything = torch.arange(len(probs_NVK))
    return judged_rows(everything.numpy(), corrector.label(predict(everything, 0, 1), predict))
