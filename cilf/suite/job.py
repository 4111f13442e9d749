"""`cilf evaluate --suite`, from its options to its tables: train the runs that are missing, then write the tables."""

from __future__ import annotations

import json
import time
from pathlib import Path

from cilf.card import CARD_FILE, ModelFolderError
from cilf.cluster import Cluster, running
from cilf.config import EvaluateOptions
from cilf.cores import cores
from cilf.errors import JobError, UsageError
from cilf.models.systems import build_network
from cilf.storage import CHECKING, Location, check_output, locate, read
from cilf.suite.measures import kind_of
from cilf.suite.plan import Run, read_suite
from cilf.suite.result import Result
from cilf.suite.table import check_tables, write_tables
from cilf.training.run_folder import check_recipe

MEASURED = "evaluation.json"
"""The last file that a run writes: a folder that has it holds a finished run."""


class Trainer:
    """Ray actor that trains, calibrates and measures one run at a time.

    Args:
        sharing: number of actors that share a machine's cores.
    """

    def __init__(self, sharing: int) -> None:
        import torch

        # Ray gives an actor without CPUs one thread. It can use all cores, as the workers are idle during calibration
        # and measurement.
        torch.set_num_threads(max(1, cores() // sharing))

    def train(self, run: Run, url: str) -> str | None:
        """Train and measure a run; returns None, or the error message if that fails."""
        from cilf.training.job import train_recipe

        try:
            train_recipe(run.recipe, locate(url), None)
        except (UsageError, JobError, ModelFolderError) as error:
            return str(error)
        return None


def run(options: EvaluateOptions) -> int:
    """Train and measure every run that is not finished, and write the tables; all files go to the folder DATA.

    Raises:
        UsageError: the suite cannot be used, or the folder holds runs of another suite.
        JobError: some runs failed; the tables contain the others.
    """
    runs, output = read_suite(Path(options.model)), locate(options.data, CHECKING)
    given = {
        "--faces": options.faces,
        "--find": options.find,
        "--epsilon-sweep": options.epsilon_sweep,
        "--output": options.output is not None,
        "--split": options.split != EvaluateOptions.split,
    }
    for wrong in (name for name, there in given.items() if there):
        raise UsageError(f"--suite cannot be combined with {wrong}: use cilf evaluate --suite SUITE OUTPUT")
    check_output(output)
    check_tables(runs, output)
    command = f"cilf evaluate --suite {options.model} {options.data}"
    left = [each for each in runs if not done(each, output)]
    for each in left:
        if each.seed == runs[0].seed:
            build_network(each.recipe.model, load_weights=False)  # fail early if a network cannot be built
    failed: list[str] = []
    if left:
        print(f"{len(left)} of {len(runs)} runs to train; the others are finished", flush=True)
        with running(options.cluster) as cluster:
            failed = train_all(left, output, cluster)
    results = [Result.read(each, output / each.place) for each in runs if done(each, output)]
    written = write_tables(runs, results, output, command) if results else []
    if failed:
        raise JobError(f"{len(failed)} of {len(runs)} runs failed; run the same command to retry them ({failed[0]})")
    print(f"{', '.join(written)} are in {output.url}")
    return 0


def done(each: Run, output: Location) -> bool:
    """True if the run is finished.

    Raises:
        UsageError: its folder holds a run of another recipe.
    """
    folder = output / each.place
    check_recipe(each.recipe, folder)
    return all(read(folder / name) is not None for name in (CARD_FILE, MEASURED))


def train_all(runs: list[Run], output: Location, cluster: Cluster) -> list[str]:
    """Train runs in parallel, as many as the cluster has GPUs for, each in an actor; returns a line per failed run.

    With GPUs, each training worker has its own; on CPUs, a single run's workers and data tasks use all cores.
    """
    import ray
    from ray.util import ActorPool

    most = max(each.recipe.most_workers for each in runs)
    at_once = min(len(runs), max(1, int(cluster.gpus // most)))
    pool = ActorPool([ray.remote(Trainer).options(num_cpus=0).remote(at_once) for _ in range(at_once)])
    failed, started = [], time.monotonic()
    for each in runs:
        pool.submit(lambda trainer, each: trainer.train.remote(each, (output / each.place).url), each)
    # In the order of the suite, so that each result belongs to a known run.
    for number, each in enumerate(runs, start=1):
        try:
            problem = pool.get_next()
        except ray.exceptions.RayTaskError as error:
            problem = f"{type(error.cause).__name__}: {error.cause}"  # only this run failed
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[-300:]
            raise JobError(f"{each.place} died ({why}); run the same command to resume it") from error
        minutes = (time.monotonic() - started) / 60
        if problem is None:
            record = json.loads(read(output / each.place / MEASURED) or b"{}")
            measure = kind_of(record).first
            said = f"{measure.heading} {measure.of(record):.{measure.digits}f}"
        else:
            said = f"failed: {problem}"
            failed.append(f"{each.place}: {problem}")
        print(f"[{number}/{len(runs)}] {each.place}: {said} ({minutes:.1f} min since the start)", flush=True)
    return failed
