"""Figures by which systems are compared: errors in years or ranks, or accuracies by age group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Record = Mapping[str, Any]
"""Contents of evaluation.json."""


@dataclass(frozen=True)
class Measure:
    """One figure of a run."""

    name: str
    """Key in JSON and CSV."""
    heading: str
    """Heading in Markdown."""
    of: Callable[[Record], float]
    digits: int = 1
    """Decimals in Markdown; JSON and CSV have one more."""
    unit: str = ""
    spread: bool = False
    """Whether the standard deviation is shown."""
    in_csv: bool = True
    """Whether the CSV has the figure, or only JSON and Markdown."""


@dataclass(frozen=True)
class Kind:
    """Measures of a data set; systems are ranked by the first one."""

    measures: tuple[Measure, ...]
    least_is_best: bool
    unit: str | None
    """Unit of errors; None if there are no errors, only right and wrong groups."""
    meaning: str
    """Explanation of the figures, a sentence."""

    @property
    def first(self) -> Measure:
        return self.measures[0]


def _figure(name: str) -> Callable[[Record], float]:
    return lambda record: float(record["figures"][name])


def _coverage(record: Record) -> float:
    return 100 * float(record["figures"]["interval_coverage"]["all"])


YEARS = Kind(
    (
        Measure("mae", "MAE", _figure("mae"), digits=2, spread=True),
        Measure("mae_before_correction", "before correction", _figure("mae_before_correction"), digits=2, in_csv=False),
        Measure("cs5", "CS(5), %", _figure("cs5")),
        Measure("coverage90", "in 90 % interval", _coverage, unit=" %"),
        Measure("interval_width", "interval width", _figure("interval_width"), in_csv=False),
    ),
    least_is_best=True,
    unit="years",
    meaning="MAE and widths in years",
)

RANKS = replace(
    YEARS,
    measures=tuple(
        Measure("rank_accuracy", "accuracy, %", _figure("rank_accuracy")) if measure.name == "cs5" else measure
        for measure in YEARS.measures
    ),
    unit="ranks",
    meaning="MAE and widths in ranks; accuracy uses the rank nearest to the estimate",
)

GROUPS = Kind(
    (
        Measure("accuracy", "accuracy, %", _figure("accuracy"), spread=True),
        Measure("one_off", "1-off, %", _figure("one_off"), spread=True),
        Measure(
            "accuracy_before_correction",
            "accuracy before correction, %",
            _figure("accuracy_before_correction"),
            in_csv=False,
        ),
    ),
    least_is_best=False,
    unit=None,
    meaning="The data has age groups instead of ages: accuracy is the share of faces whose estimate is nearest to the "
    "true group, 1-off the share whose estimate is at most one group away",
)


def kind_of(record: Record) -> Kind:
    """The kind of a run: YEARS, RANKS or GROUPS."""
    if "age_groups" in record:
        return GROUPS
    return RANKS if "rank_accuracy" in record["figures"] else YEARS
