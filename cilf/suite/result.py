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
    """A run and what was measured."""

    run: Run
    record: Mapping[str, Any]
    """evaluation.json."""
    card: Mapping[str, Any]
    """model.json."""
    estimates: pa.Table
    """estimates.parquet."""

    @classmethod
    def read(cls, run: Run, folder: Location) -> Result:
        """Of a finished run's folder.

        Raises:
            UsageError: the folder's files are not what training writes.
        """
        try:
            record, card = (json.loads(read(folder / name) or b"") for name in ("evaluation.json", CARD_FILE))
            estimates = _table(read(folder / "estimates.parquet") or b"")
        except ValueError as error:
            raise UsageError(f"{folder.url} is damaged ({error}); delete it to train it anew") from error
        return cls(run, record, card, estimates)


def _table(parquet: bytes) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(parquet))
    except OSError as error:  # what pyarrow says of some damages; not of a store, from which all has been read
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Entry:
    """The runs of a system on a data set: a line of its table."""

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
        """Those of the data; none where it has none."""
        return list(dict.fromkeys(result.run.fold for result in self.results if result.run.fold is not None))

    @property
    def kind(self) -> Kind:
        return kind_of(self.results[0].record)

    @property
    def parameters(self) -> int:
        """Learned numbers, the same with every seed."""
        return int(self.results[0].card["training"]["parameters"])

    def values(self, of: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
        """A figure of evaluation.json, float64: by fold, each the mean over its seeds, or without folds by seed."""
        by = [result.run.fold if self.folds else result.run.seed for result in self.results]
        figures = np.array([of(result.record) for result in self.results], np.float64)
        return np.array([figures[[key == one for key in by]].mean() for one in dict.fromkeys(by)])

    def mean(self, of: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Mean over all runs of a figure or of a curve."""
        return np.mean([of(result.record) for result in self.results], axis=0)


def by_data(results: Sequence[Result]) -> dict[str, list[Entry]]:
    """Systems of each data set, the best first.

    Raises:
        UsageError: some folds of a data set have ages and others only groups.
    """
    tables: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        tables.setdefault(result.run.data, {}).setdefault(result.run.system, []).append(result)
    return {data: _ranked(data, [Entry(*pair) for pair in systems.items()]) for data, systems in tables.items()}


def _ranked(data: str, systems: list[Entry]) -> list[Entry]:
    if len({kind_of(result.record).first.name for system in systems for result in system.results}) > 1:
        raise UsageError(f"{data}: some runs were measured by ages and others by age groups, which make no one table")
    kind = systems[0].kind
    return sorted(systems, key=lambda s: s.values(kind.first.of).mean(), reverse=not kind.least_is_best)
