"""One finished run, and a system's runs over all seeds and folds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf.card import CARD_FILE
from cilf.errors import UsageError
from cilf.storage import Location, read
from cilf.suite.measures import Kind, kind_of
from cilf.suite.plan import Run


@dataclass(frozen=True)
class Result:
    """A finished run and its results."""

    run: Run
    record: Mapping[str, Any]
    """Contents of evaluation.json."""
    card: Mapping[str, Any]
    """Contents of model.json."""
    estimates: pa.Table
    """Contents of estimates.parquet."""

    @classmethod
    def read(cls, run: Run, folder: Location) -> Result:
        """Read the result from the folder of a finished run.

        Raises:
            UsageError: the folder's files are damaged.
        """
        try:
            record, card = (json.loads(read(folder / name) or b"") for name in ("evaluation.json", CARD_FILE))
            estimates = _table(read(folder / "estimates.parquet") or b"")
        except ValueError as error:
            raise UsageError(f"{folder.url} is damaged ({error}); delete it to train the run again") from error
        return cls(run, record, card, estimates)


def _table(parquet: bytes) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(parquet))
    except OSError as error:  # pyarrow raises it for some damaged files; the store was read before
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Entry:
    """The runs of a system on a data set: one row of its table."""

    name: str
    results: Sequence[Result]

    @property
    def own_backbone(self) -> bool:
        return self.results[0].run.own_backbone

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(result.run.seed for result in self.results))

    @property
    def folds(self) -> list[int]:
        """Numbers of the data set's folds; empty if it has no folds."""
        return list(dict.fromkeys(result.run.fold for result in self.results if result.run.fold is not None))

    @property
    def kind(self) -> Kind:
        return kind_of(self.results[0].record)

    @property
    def parameters(self) -> int:
        """Number of learned parameters, which is the same with every seed."""
        return int(self.results[0].card["training"]["parameters"])

    def values(self, of: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
        """Values of a figure of evaluation.json, float64: one per fold, the mean over its seeds, or, without folds, one
        per seed."""
        by = [result.run.fold if self.folds else result.run.seed for result in self.results]
        figures = np.array([of(result.record) for result in self.results], np.float64)
        return np.array([figures[[key == one for key in by]].mean() for one in dict.fromkeys(by)])

    def mean(self, of: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Mean of a figure or a curve over all runs."""
        return np.mean([of(result.record) for result in self.results], axis=0)


def by_data(results: Sequence[Result]) -> dict[str, list[Entry]]:
    """Systems by data set, the best first.

    Raises:
        UsageError: some folds of a data set have ages and others have age groups.
    """
    tables: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        tables.setdefault(result.run.data, {}).setdefault(result.run.system, []).append(result)
    return {data: _ranked(data, [Entry(*pair) for pair in systems.items()]) for data, systems in tables.items()}


def _ranked(data: str, systems: list[Entry]) -> list[Entry]:
    if len({kind_of(result.record).first.name for system in systems for result in system.results}) > 1:
        raise UsageError(f"{data}: some runs were measured by ages and others by age groups; they need separate tables")
    kind = systems[0].kind
    return sorted(systems, key=lambda s: s.values(kind.first.of).mean(), reverse=not kind.least_is_best)
