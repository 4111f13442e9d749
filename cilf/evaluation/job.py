"""`cilf evaluate` from its options to its files; `evaluate_model` for who holds an estimator already."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from cilf.config import EvaluateOptions
from cilf.datasets.faces import FaceSet
from cilf.estimator import Estimator
from cilf.evaluation.groups import assess
from cilf.evaluation.measure import BATCH, measure
from cilf.evaluation.metrics import rank_accuracy
from cilf.evaluation.plots import picture
from cilf.evaluation.stream import estimate_set
from cilf.evaluation.tables import markdown, terminal
from cilf.provenance import versions
from cilf.storage import CHECKING, check_output, locate, model_folder, write_all

_NAMED = 100
"""Of the skipped rows, this many are named."""


@dataclass(frozen=True)
class Evaluation:
    """What came out."""

    record: dict[str, Any]
    """evaluation.json: strict JSON types. Its main part is that of cilf.evaluation.groups.assess."""
    estimates: pa.Table
    """estimates.parquet: a row per face that was estimated; see cilf.evaluation.stream.Estimated.table."""

    @property
    def figures(self) -> dict[str, Any]:
        """For a model card, the point figures of cilf.evaluation.measure.measure."""
        return self.record["figures"]

    def write(self, folder: str | Path) -> None:
        """Write evaluation.md, .png and .json and estimates.parquet into a folder or below a URL.

        Raises:
            UsageError: nothing can be written there.
        """
        parquet = io.BytesIO()
        pq.write_table(self.estimates, parquet)
        files = {
            "estimates.parquet": parquet.getvalue(),
            "evaluation.png": picture(self.record, self.estimates),
            "evaluation.md": markdown(self.record).encode(),
            "evaluation.json": json.dumps(self.record, indent=2, ensure_ascii=False, allow_nan=False).encode(),
        }
        write_all(locate(str(folder)), files)


def run(options: EvaluateOptions) -> int:
    """See cilf.evaluation.evaluate."""
    folder = model_folder(options.model)
    name = locate(options.model).path.rpartition("/")[2]
    output = locate(options.output or f"runs/evaluate/{name}", CHECKING)
    faces = FaceSet(options.data, options.split)
    check_output(output)
    evaluation = evaluate_model(Estimator(folder), faces)
    evaluation.write(output.url)
    Console(highlight=False).print(terminal(evaluation.record))
    print(f"evaluation.md, evaluation.png, evaluation.json and estimates.parquet are in {output.url}")
    return 0


def evaluate_model(estimator: Estimator, faces: FaceSet) -> Evaluation:
    """Estimate the ages of labelled faces, batch by batch, and measure the estimates.

    Raises:
        UsageError: not one row can be used.
        JobError: the data could not be read to its end.
    """
    estimated = estimate_set(estimator, faces)
    estimates, ages_N = estimated.estimates, estimated.ages_N
    figures = measure(estimates, ages_N)
    if estimator.card.model.ages.names is not None:
        figures["rank_accuracy"] = rank_accuracy(estimates.age, ages_N)
    record = {
        "format": 1,
        "model": estimator.card.name,
        "data": {"path": faces.data, "split": faces.split, "rows": faces.rows, "evaluated": len(ages_N)},
        "skipped": {"total": len(estimated.skipped), "rows": [asdict(row) for row in estimated.skipped[:_NAMED]]},
        "figures": figures,
        **assess(estimates, ages_N, estimated.groups),
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
