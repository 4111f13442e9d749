"""One finished run, and a system's runs over all seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cilf.card import CARD_FILE
from cilf.errors import UsageError
from cilf.storage import Location, read
from cilf.suite.plan import Run


@dataclass(frozen=True)
class Result:
    """A run and what was measured."""

    run: Run
    record: Mapping[str, Any]
    """evaluation.json."""
    card: Mapping[str, Any]
    """model.json."""

    @classmethod
    def read(cls, run: Run, folder: Location) -> Result:
        """Of a finished run's folder.

        Raises:
            UsageError: the folder's files are not what training writes.
        """
        try:
            record, card = (json.loads(read(folder / name) or b"") for name in ("evaluation.json", CARD_FILE))
        except ValueError as error:
            raise UsageError(f"{folder.url} is damaged ({error}); delete it to train it anew") from error
        return cls(run, record, card)


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
        return [result.run.seed for result in self.results]

    @property
    def parameters(self) -> int:
        """Learned numbers, the same with every seed."""
        return int(self.results[0].card["training"]["parameters"])

    def values(self, of: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
        """A figure of evaluation.json by seed, float64."""
        return np.array([of(result.record) for result in self.results], np.float64)

    def mean(self, of: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Mean over the seeds of a figure or of a curve."""
        return np.mean([of(result.record) for result in self.results], axis=0)


def by_data(results: Sequence[Result]) -> dict[str, list[Entry]]:
    """Systems of each data set, the smallest error first."""
    tables: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        tables.setdefault(result.run.data, {}).setdefault(result.run.system, []).append(result)
    return {
        data: sorted((Entry(name, group) for name, group in systems.items()), key=lambda s: s.values(mae).mean())
        for data, systems in tables.items()
    }


def mae(record: Mapping[str, Any]) -> float:
    """Of evaluation.json, years."""
    return float(record["figures"]["mae"])
