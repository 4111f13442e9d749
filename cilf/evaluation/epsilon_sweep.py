"""`cilf evaluate --epsilon-sweep`: effect and cost of correction for several thresholds ε.

An estimate whose judged error is above ε counts as failed, and a second network then estimates the face too. The sweep
runs both networks on every face once, and computes the result for each ε from their outputs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cilf.config import EvaluateOptions
from cilf.datasets.faces import FaceSet, Skipped, no_usable_rows
from cilf.errors import UsageError
from cilf.estimator import Estimator
from cilf.evaluation.measure import BATCH
from cilf.evaluation.metrics import cumulative_score
from cilf.memory import keep_freed_memory
from cilf.models.corrector import Corrector, Judged
from cilf.models.evidence import Look
from cilf.own_files import check_results
from cilf.storage import CHECKING, check_output, locate, model_folder, write_all

FILES = ("epsilon.json", "epsilon.csv", "epsilon.md")
"""Files that a run writes."""

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Largest shares of faces whose first estimate may fail: each gives an ε, in addition to the model's own. The actual
share can be smaller, because many faces have the same judged error."""

_HEADINGS = ("ε", "failed, %", "then at most ε, %", "MAE of these before", "after", "MAE", "CS(5), %", "")


@dataclass(frozen=True)
class Row:
    """Figures of all faces for one ε; errors in years, shares in 0..1."""

    epsilon: float | None
    """None: below every judged error, so that every estimate fails."""
    fired: float
    """Share of faces whose first estimate failed: the cost of correction."""
    settled: float | None
    """Share of the failed faces whose judged error is at most ε after correction; None if no face failed."""
    fired_mae_before: float | None
    """MAE of the failed faces before correction."""
    fired_mae: float | None
    """MAE of the failed faces after correction."""
    mae: float
    """MAE of all faces."""
    cs5: float
    """CS(5) of all faces, per cent."""
    own: bool
    """True for the ε that the model uses in labelling."""


def run(options: EvaluateOptions) -> int:
    """Print and write the table of thresholds ε."""
    folder = model_folder(options.model)
    target = locate(options.output or f"runs/evaluate/{locate(options.model).path.rpartition('/')[2]}", CHECKING)
    faces = FaceSet(options.data, options.split, options.find)
    if faces.age_groups is not None:
        raise UsageError(f"{faces.data} has age groups, but --epsilon-sweep measures errors in years: it needs ages")
    check_output(target)
    check_results(target, FILES, "model", "skipped", "rows")
    keep_freed_memory()
    estimator = Estimator(folder)
    seen, ages_N = _seen(estimator, faces)
    rows = sweep(estimator.corrector, seen, ages_N)
    record = {"format": 1, "model": estimator.card.name, "data": faces.data, "split": faces.split, "faces": len(ages_N)}
    left_out = faces.rows - len(ages_N)
    record["skipped"] = left_out
    of = f"{len(ages_N):,} faces of split={faces.split}" + (f", {left_out:,} skipped" if left_out else "")
    command = f"cilf evaluate {options.model} {options.data} --split {options.split} --epsilon-sweep"
    page = f"# {estimator.card.name}: ε on {of}\n\n    {command}\n\n{_markdown(rows)}"
    texts = json.dumps(record | {"rows": [asdict(row) for row in rows]}, indent=2), _csv(rows), page
    write_all(target, {name: text.encode() for name, text in zip(FILES, texts, strict=True)})
    Console(highlight=False).print(_shown(rows))
    print(f"{of}; epsilon.md, epsilon.csv and epsilon.json are in {target.url}")
    return 0


def _seen(estimator: Estimator, faces: FaceSet) -> tuple[Look, np.ndarray]:
    """Outputs of both networks for every face, and the true ages, float32 [N] years."""
    if estimator.second is None or estimator.corrector.second is None:
        why = estimator.corrector.constants.second_look
        raise UsageError(f"{estimator.card.name} never uses a second network ({why}): there is no ε to choose")
    said: list[Look] = []
    ages: list[np.ndarray] = []
    skipped: list[Skipped] = []
    for batch in faces.batches(estimator.images, BATCH):
        skipped += batch.skipped
        if len(batch):
            images_NHWC = torch.from_numpy(batch.images_NHWC).to(estimator.device)
            with torch.inference_mode():
                said.append(estimator.look(images_NHWC).with_second(estimator.look_again(images_NHWC)))
            ages.append(batch.ages_N)
    if not said:
        raise no_usable_rows(faces.data, faces.split, tuple(skipped))
    return Look.concatenated(said), np.concatenate(ages)


def sweep(corrector: Corrector, seen: Look, ages_N: np.ndarray) -> list[Row]:
    """Correct the same faces with each ε, the largest first.

    Args:
        corrector: the model's corrector.
        seen: outputs of both networks for N faces.
        ages_N: true ages, years.
    """
    own = corrector.constants.epsilon
    at_once = _labelled(corrector, seen, float("inf")).expected_error_B.cpu().numpy()
    chosen = [float(np.quantile(at_once, 1 - share, method="higher")) for share in SHARES[:-1]] + [
        -1.0
    ]  # no error is below 0
    return [_row(_labelled(corrector, seen, e), e, ages_N, e == own) for e in sorted({*chosen, own}, reverse=True)]


def _labelled(corrector: Corrector, seen: Look, epsilon: float) -> Judged:
    assert seen.second_BK is not None
    constants = corrector.constants.model_copy(update={"epsilon": epsilon})
    other = Corrector(constants, corrector.familiarity, corrector.first, corrector.second)
    return other.label(seen.with_second(None), seen.second_BK.__getitem__)


def _row(judged: Judged, epsilon: float, ages_N: np.ndarray, own: bool) -> Row:
    age_N, first_N, error_N, rounds_N = (
        part.cpu().numpy() for part in (judged.age_B, judged.first_age_B, judged.expected_error_B, judged.corrections_B)
    )
    fired_N = rounds_N > 0
    after_N, before_N = np.abs(age_N - ages_N), np.abs(first_N - ages_N)
    return Row(
        epsilon=epsilon if epsilon >= 0 else None,
        fired=float(fired_N.mean()),
        settled=float((error_N[fired_N] <= epsilon).mean()) if fired_N.any() else None,
        fired_mae_before=float(before_N[fired_N].mean()) if fired_N.any() else None,
        fired_mae=float(after_N[fired_N].mean()) if fired_N.any() else None,
        mae=float(after_N.mean()),
        cs5=cumulative_score(age_N, ages_N, 5),
        own=own,
    )


def _cells(row: Row) -> tuple[str, ...]:
    def years(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    return (
        "below all errors" if row.epsilon is None else f"{row.epsilon:.2f}",
        f"{100 * row.fired:.1f}",
        "" if row.settled is None else f"{100 * row.settled:.1f}",
        years(row.fired_mae_before),
        years(row.fired_mae),
        years(row.mae),
        f"{row.cs5:.1f}",
        "the model's own" if row.own else "",
    )


def _shown(rows: Sequence[Row]) -> Table:
    table = Table(*_HEADINGS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _markdown(rows: Sequence[Row]) -> str:
    lines = [_HEADINGS, ("---:",) * len(_HEADINGS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    records: list[dict[str, Any]] = [asdict(row) for row in rows]
    table = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()
