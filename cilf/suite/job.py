"""`cilf evaluate --suite` from its options to its tables: train what is not trained yet, then put it side by side."""

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
"""The last file of a run: what has it is done."""


class Trainer:
    """An actor that trains one run after the other, calibrates and measures it.

    Args:
        sharing: how many of them share a machine's cores.
    """

    def __init__(self, sharing: int) -> None:
        import torch

        # Ray gives an actor that claims no CPU one thread; the workers rest while it calibrates and measures.
        torch.set_num_threads(max(1, cores() // sharing))

    def train(self, run: Run, url: str) -> str | None:
        """Train and measure a run; None, or why that cannot be done."""
        from cilf.training.job import train_recipe

        try:
            train_recipe(run.recipe, locate(url), None)
        except (UsageError, JobError, ModelFolderError) as error:
            return str(error)
        return None


def run(options: EvaluateOptions) -> int:
    """Train and measure every run that is not done, and write the tables; all in the folder DATA.

    Raises:
        UsageError: the suite cannot be used, or the folder holds runs of another one.
        JobError: some runs have failed; the tables have the others.
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
        raise UsageError(f"--suite goes without {wrong}: cilf evaluate --suite SUITE OUTPUT is all it takes")
    check_output(output)
    check_tables(runs, output)
    command = f"cilf evaluate --suite {options.model} {options.data}"
    left = [each for each in runs if not done(each, output)]
    for each in left:
        if each.seed == runs[0].seed:
            build_network(each.recipe.model, load_weights=False)  # what cannot be built is better known now
    failed: list[str] = []
    if left:
        print(f"{len(left)} of {len(runs)} runs to train; the others are done", flush=True)
        with running(options.cluster) as cluster:
            failed = train_all(left, output, cluster)
    results = [Result.read(each, output / each.place) for each in runs if done(each, output)]
    written = write_tables(runs, results, output, command) if results else []
    if failed:
        raise JobError(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again ({failed[0]})")
    print(f"{', '.join(written)} are in {output.url}")
    return 0


def done(each: Run, output: Location) -> bool:
    """Whether the run is there to its end.

    Raises:
        UsageError: its folder holds a run of another recipe.
    """
    folder = output / each.place
    check_recipe(each.recipe, folder)
    return all(read(folder / name) is not None for name in (CARD_FILE, MEASURED))


def train_all(runs: list[Run], output: Location, cluster: Cluster) -> list[str]:
    """Train as many runs at once as the cluster has room for, each in an actor; what failed, a line each.

    On GPUs each worker has its own; on CPUs a run's workers and the tasks that feed them take all there are.
    """
    import ray
    from ray.util import ActorPool

    most = max(each.recipe.most_workers for each in runs)
    at_once = min(len(runs), max(1, int(cluster.gpus // most)))
    pool = ActorPool([ray.remote(Trainer).options(num_cpus=0).remote(at_once) for _ in range(at_once)])
    failed, started = [], time.monotonic()
    for each in runs:
        pool.submit(lambda trainer, each: trainer.train.remote(each, (output / each.place).url), each)
    # In the order of the suite, so that an answer can be told from another.
    for number, each in enumerate(runs, start=1):
        try:
            problem = pool.get_next()
        except ray.exceptions.RayTaskError as error:
            problem = f"{type(error.cause).__name__}: {error.cause}"  # costs only its own run
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[-300:]
            raise JobError(f"{each.place} died ({why}); the same command goes on from there") from error
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
