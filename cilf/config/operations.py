"""Options of `cilf report` and `cilf nightly`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cilf.config.parameters import AtLeastOne, Flag, Positive, Repeatable


@Parameter(name="*")
@dataclass(frozen=True)
class ReportOptions:
    """Options of `cilf report`."""

    output: str
    """Folder or URL that `cilf label` has written into. report.html, review.csv and review.parquet are written there
    too; a review file that people have filled in stays, and the new ones are written to OUTPUT/review."""

    _: KW_ONLY

    slice: Annotated[tuple[str, ...], Repeatable] = ()
    """Show figures by the values of this column, which the labels carry from your manifest; repeat the option for
    several."""

    previous: Annotated[int, AtLeastOne] = 7
    """Number of earlier runs of the same model with which the ages of the newest run are compared, all together. A run
    that ended early and the runs that resumed it count as one. Runs that have drifted do not count."""

    since: str | None = None
    """Treat all runs from this one on, together, as the newest: a run id or its beginning, such as 20261122 for a day.
    Default: only the newest."""

    review: Annotated[int, Parameter(validator=Number(gte=0, lte=100_000))] = 100
    """Number of faces in the review queue."""

    price: Annotated[float | None, Positive] = None
    """Cost of all machines of a run together per hour, in any currency, for the cost of each run."""

    corrections: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True)] = ()
    """CSV or Parquet file or URL of a review queue with true_age (years) filled in, or a folder of such files, such as
    OUTPUT; separate several by spaces. If a face has two ages, the one in the file that was changed last counts. With
    this option no page is written, but --training-rows."""

    training_rows: str | None = None
    """Parquet file or URL for the training rows from --corrections: uri, age, subject, split and the face's box."""


@Parameter(name="*")
@dataclass(frozen=True)
class NightlyOptions:
    """Options of `cilf nightly`."""

    night: Annotated[str, Parameter(name="CONFIG")]
    """YAML file or URL with the inputs, OUTPUT and options of a night; see configs/nightly.yaml."""

    _: KW_ONLY

    again: Annotated[bool, Flag] = False
    """If tonight's run is done, begin another one of the same date. Without this option nothing is done then."""
