"""`cilf evaluate`, from its options to its files; `evaluate_model` evaluates an estimator that is already loaded."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console, RenderableType

from cilf.age_space import AgeSpace
from cilf.config import EvaluateOptions
from cilf.datasets.age_groups import AgeGroup
from cilf.datasets.faces import FaceSet
from cilf.estimator import Estimator
from cilf.evaluation import age_groups, group_plot, group_tables, groups, plots, tables
from cilf.evaluation.measure import BATCH, measure
from cilf.evaluation.scale import scale_of
from cilf.evaluation.stream import Estimated, estimate_set
from cilf.memory import keep_freed_memory
from cilf.own_files import check_results
from cilf.protocols.leakage import of_one_result
from cilf.provenance import versions
from cilf.storage import CHECKING, Location, check_output, locate, model_folder, write_all

FILES = ("evaluation.json", "evaluation.md", "evaluation.png", "estimates.parquet")
"""Files that an evaluation writes into its folder."""

_NAMED = 100
"""Largest number of skipped rows that are listed."""


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation."""

    record: dict[str, Any]
    """Contents of evaluation.json, in strict JSON types. The main part comes from cilf.evaluation.groups.assess or, if
    the data has age groups instead of ages, from cilf.evaluation.age_groups.assess."""
    estimates: pa.Table
    """Contents of estimates.parquet: a row per estimated face; see cilf.evaluation.stream.Estimated.table."""

    @property
    def figures(self) -> dict[str, Any]:
        """Figures for a model card, without intervals."""
        return self.record["figures"]

    def terminal(self) -> RenderableType:
        """Summary for a terminal of 80 columns."""
        return (group_tables if self._by_group else tables).terminal(self.record)

    def markdown(self) -> str:
        """All tables as Markdown."""
        return (group_tables if self._by_group else tables).markdown(self.record)

    def picture(self) -> bytes:
        """The figure as a PNG."""
        return group_plot.picture(self.record) if self._by_group else plots.picture(self.record, self.estimates)

    @property
    def _by_group(self) -> bool:
        return "age_groups" in self.record

    def write(self, folder: str | Path) -> None:
        """Write evaluation.md, .png and .json and estimates.parquet into a folder or below a URL.

        Raises:
            UsageError: the folder or URL cannot be written.
        """
        parquet = io.BytesIO()
        pq.write_table(self.estimates, parquet)
        files = {
            "estimates.parquet": parquet.getvalue(),
            "evaluation.png": self.picture(),
            "evaluation.md": self.markdown().encode(),
            "evaluation.json": json.dumps(self.record, indent=2, ensure_ascii=False, allow_nan=False).encode(),
        }
        write_all(locate(str(folder)), files)


def run(options: EvaluateOptions) -> int:
    """Run an evaluation by age, rank or age group; see cilf.evaluation.evaluate."""
    folder = model_folder(options.model)
    name = locate(options.model).path.rpartition("/")[2]
    output = locate(options.output or f"runs/evaluate/{name}", CHECKING)
    faces = FaceSet(options.data, options.split, options.find)
    check_output(output)
    check_is_ours(output)
    keep_freed_memory()
    evaluation = evaluate_model(Estimator(folder), faces)
    evaluation.write(output.url)
    Console(highlight=False).print(evaluation.terminal())
    print(f"evaluation.md, evaluation.png, evaluation.json and estimates.parquet are in {output.url}")
    return 0


def check_is_ours(output: Location) -> None:
    """Make sure that only an earlier evaluation is overwritten.

    Raises:
        UsageError: the folder holds files of the same names that are no evaluation.
    """
    check_results(output, FILES, "evaluated_at")


def evaluate_model(estimator: Estimator, faces: FaceSet, learned: Iterable[str | None] | None = None) -> Evaluation:
    """Estimate the ages of labelled faces, batch by batch, and measure the estimates.

    Args:
        learned: subject of each row that the model was just trained on, None where unknown; used for the leakage. If
            left out (when no training precedes), the subjects of the data's other splits are used.

    Raises:
        UsageError: no row can be used.
        JobError: the data could not be read completely.
    """
    estimated = estimate_set(estimator, faces)
    rows = len(estimated.ids)
    tested = estimated.groups.get("subject", np.full(rows, None, object)).tolist()
    record = {
        "format": 1,
        "model": estimator.card.name,
        "data": {"path": faces.data, "split": faces.split, "found": faces.find, "rows": faces.rows, "evaluated": rows},
        "leakage": of_one_result(tested, learned=learned, others=faces.known_others if faces.others else None),
        "skipped": {"total": len(estimated.skipped), "rows": [asdict(row) for row in estimated.skipped[:_NAMED]]},
        **_measured(estimated, faces.age_groups, estimator.card.model.ages.space),
        "speed": {
            "device": str(estimator.device),
            "batch_size": BATCH,
            "estimation_images_per_second": estimated.rate,
            "images_per_second": faces.rows / estimated.seconds,
            "seconds": estimated.seconds,
        },
        "versions": versions(),
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Evaluation(record, estimated.table())


def _measured(estimated: Estimated, known: list[AgeGroup] | None, space: AgeSpace) -> dict[str, Any]:
    """`figures` for a card and all other figures, by age, by rank or, if given, by the age groups `known`."""
    estimates, labels, scale = estimated.estimates, estimated.groups, scale_of(space)
    if known is None:
        assessed = groups.assess(estimates, estimated.ages_N, labels, estimated.stds_N, scale)
        figures = measure(estimates, estimated.ages_N, scale)
        if epsilon := assessed["epsilon_error"]:
            figures["epsilon_error"] = epsilon["value"]
    else:
        assessed = age_groups.assess(estimates, known, labels, space.oldest)
        names = ("accuracy", "one_off", "accuracy_before_correction", "coverage", "accepted", "corrected")
        figures = {"rows": len(estimates.age), **{name: assessed["all"][name]["value"] for name in names}}
    return {"figures": figures, **assessed}
