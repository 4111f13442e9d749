"""The command `cilf lopo`, from its options to its files. Finished parts are kept and not computed again."""

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
from cilf.lopo.fold import ROWS
from cilf.lopo.heads import SYSTEMS
from cilf.lopo.material import Material
from cilf.lopo.people import People, read_people
from cilf.lopo.results import FILES, results
from cilf.lopo.work import Work
from cilf.models.checkpoint import load_model
from cilf.models.cilf import CILF
from cilf.own_files import check_results
from cilf.provenance import fingerprint
from cilf.storage import CHECKING, check_output, locate, model_folder

VERSION = 2
"""Bump this when the same photographs may give other figures."""

AS_IT_IS = "as_it_is"
"""The model itself, with nothing fitted to these people."""


def run(options: LopoOptions) -> int:
    """See cilf.lopo.lopo."""
    started = time.perf_counter()
    folder = model_folder(options.model)
    model, _, _, card = load_model(folder)
    if not isinstance(model, CILF):
        raise UsageError(f"{options.model} is a {type(model).__name__}; heads need a CILF-CIAE's frozen features")
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
        estimates = {AS_IT_IS: _as_it_is(frozen), **work.folds(material, work.rates(material, systems))}
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


def _as_it_is(frozen: Frozen) -> pa.Table:
    """The model's own estimates with its own correction, as in labelling."""
    *years, accepted = (pa.array(column_N) for column_N in frozen.estimates_NJ.T)
    return pa.table([pa.array(range(len(accepted)), pa.int64()), *years, accepted.cast(pa.bool_())], schema=ROWS)
