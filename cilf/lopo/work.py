"""The intermediate files of a leave-one-person-out run, and the Ray tasks that compute the missing ones.

    features.npz                     frozen features of all photographs
    rates/<system>-<half>.json       MAE of each learning rate in the other half
    folds/<system>/<person>.parquet  estimates of one left-out person

Each file is written as a whole as soon as its task has finished, so a run that stops early loses only the tasks in
progress.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from cilf.errors import JobError
from cilf.lopo.choice import best, halves, tried
from cilf.lopo.features import Frozen, frozen_features
from cilf.lopo.fitting import RATES
from cilf.lopo.fold import person
from cilf.lopo.material import Material
from cilf.lopo.people import People
from cilf.storage import Location, problem, read, write

_BLOCK = 32
"""Number of photographs per task."""

Key = TypeVar("Key")


class Work:
    """The files and tasks for one model and one set of people.

    Args:
        folder: a folder that only this model and set use.
    """

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self.tried: list[dict[str, Any]] = []
        """For each system and half: every learning rate and its MAE in the other half, years."""
        self.done = 0
        self.found = 0
        """Number of folds fitted by this run (`done`) and by earlier runs (`found`)."""

    @property
    def begun(self) -> bool:
        """Whether an earlier run has left files to resume from."""
        return bool(self.folder.fs.exists(self.folder.path))

    def features(self, model: Path, people: People) -> Frozen:
        """The frozen features of all photographs, in their order.

        Raises:
            UsageError: an image cannot be decoded.
        """
        file = self.folder / "features.npz"
        if (packed := read(file)) is not None:
            return Frozen.unpacked(packed)
        starts = range(0, len(people), _BLOCK)
        parts: dict[int, Frozen] = {}
        tasks = {i: (model, people.ids[i : i + _BLOCK], people.images[i : i + _BLOCK]) for i in starts}
        _finish("frozen features", frozen_features, tasks, parts.__setitem__)
        frozen = Frozen.joined([parts[i] for i in starts])
        write(file, frozen.packed())
        return frozen

    def rates(self, material: Material, systems: Sequence[str]) -> dict[str, list[float]]:
        """The learning rates of each system for the people of half 0 and of half 1."""
        import ray

        shared = ray.put(material)
        maes: dict[tuple[str, int], list[float]] = {}
        tasks = {}
        for key in ((system, half) for system in systems for half in (0, 1)):
            if (known := read(self._rates(*key))) is not None:
                maes[key] = json.loads(known)
            else:
                tasks[key] = (shared, *key)

        def keep(key: tuple[str, int], found: list[float]) -> None:
            maes[key] = found
            write(self._rates(*key), json.dumps(found).encode())

        _finish("learning rates", tried, tasks, keep)
        self.tried = [
            {"system": system, "half": half, "mae_by_rate": dict(zip(map(str, RATES), maes[system, half], strict=True))}
            for system, half in sorted(maes)
        ]
        return {system: [best(maes[system, half]) for half in (0, 1)] for system in systems}

    def folds(self, material: Material, rates: Mapping[str, list[float]]) -> dict[str, pa.Table]:
        """Estimates for every person by heads fitted without that person: cilf.lopo.fold.ROWS by system, in the set's
        order."""
        import ray

        shared = ray.put(material)
        half_of = halves(material.people, material.seed)
        parts: dict[str, list[pa.Table]] = {system: [] for system in rates}
        tasks = {}
        # System by system, so that some systems are complete if the run stops early.
        for system, of_half in rates.items():
            for subject in material.people:
                if (known := read(self._fold(system, subject))) is not None:
                    parts[system].append(pq.read_table(io.BytesIO(known)))
                else:
                    tasks[system, subject] = (shared, system, subject, of_half[half_of[subject]])

        def keep(key: tuple[str, str], rows: pa.Table) -> None:
            parts[key[0]].append(rows)
            buffer = io.BytesIO()
            pq.write_table(rows, buffer)
            write(self._fold(*key), buffer.getvalue())

        self.done, self.found = len(tasks), sum(map(len, parts.values()))
        _finish("people left out", person, tasks, keep)
        return {system: pa.concat_tables(tables).sort_by("row") for system, tables in parts.items()}

    def _rates(self, system: str, half: int) -> Location:
        return self.folder / "rates" / f"{system}-{half}.json"

    def _fold(self, system: str, subject: str) -> Location:
        return self.folder / "folds" / system / f"{quote(subject, safe='')}.parquet"


def _finish(
    what: str, function: Callable[..., Any], tasks: Mapping[Key, tuple[Any, ...]], keep: Callable[[Key, Any], None]
) -> None:
    """Run tasks on all CPUs, and pass each result to `keep` as soon as it is ready.

    Raises:
        UsageError: a task found invalid input.
        JobError: a task failed.
    """
    import ray

    remote = ray.remote(function).options(num_cpus=1, max_retries=3)
    keys = {remote.remote(*arguments): key for key, arguments in tasks.items()}
    waiting = list(keys)
    with _bar(what) as bar:
        task = bar.add_task("", total=len(waiting))
        while waiting:
            done, waiting = ray.wait(waiting)
            for reference in done:
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    raise JobError(f"{what}: {problem(error, str(keys[reference]))}") from error
                keep(keys[reference], result)
                bar.advance(task)


def _bar(what: str) -> Progress:
    columns = (SpinnerColumn(), TextColumn(what), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
