"""`cilf evaluate --parts`: contribution of each part of CILF-CIAE and of correction to a trained model.

Every face is estimated by the whole network, and by the network without each of its parts. The contribution of a part
is the increase of the error of the first estimate, the one before correction, without it. The contribution of
correction is its gain on the faces that get a second look.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from cilf.config import EvaluateOptions
from cilf.datasets.faces import Faces, FaceSet, no_usable_rows
from cilf.errors import UsageError
from cilf.estimator import Estimates, Estimator
from cilf.evaluation.bootstrap import RESAMPLES
from cilf.evaluation.figures import Figures, Group
from cilf.evaluation.layout import Record, markdown_table, plain, title, with_ends
from cilf.evaluation.measure import BATCH, joined
from cilf.evaluation.stream import usable
from cilf.evaluation.truth import Truth
from cilf.memory import keep_freed_memory
from cilf.own_files import check_results
from cilf.provenance import versions
from cilf.storage import CHECKING, check_output, locate, model_folder, write_all

FILES = ("parts.json", "parts.md")
"""Files that a run writes."""


@dataclass(frozen=True)
class _Seen:
    """N faces and their estimates."""

    faces: Faces
    """The faces, without pixels."""
    whole: Estimates
    without: dict[str, np.ndarray]
    """First estimates of the network without a part, float [N], by part."""


def run(options: EvaluateOptions) -> int:
    """Print and write the contributions of the parts."""
    folder = model_folder(options.model)
    target = locate(options.output or f"runs/evaluate/{locate(options.model).path.rpartition('/')[2]}", CHECKING)
    faces = FaceSet(options.data, options.split, options.find)
    check_output(target)
    check_results(target, FILES, "model", "parts", "correction")
    keep_freed_memory()
    record = measure_parts(Estimator(folder), faces)
    texts = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False), markdown(record)
    write_all(target, {name: text.encode() for name, text in zip(FILES, texts, strict=True)})
    Console(highlight=False).print(terminal(record))
    print(f"parts.md and parts.json are in {target.url}")
    return 0


def measure_parts(estimator: Estimator, faces: FaceSet) -> dict[str, Any]:
    """Estimate labelled faces with the whole network and without each of its parts.

    Returns:
        The contents of parts.json, as strict JSON types: years, ranks or per cent, shares in 0..1.

    Raises:
        UsageError: the model is not a CILF-CIAE, or no row can be used.
        JobError: the data could not be read completely.
    """
    parts = estimator.model.parts
    if not parts:
        raise UsageError(f"--parts measures the parts of CILF-CIAE, but {estimator.card.name} is another system")
    seen = _seen(estimator, faces, parts)
    truth = Truth.of(estimator.card.model.ages.space, faces.age_groups, seen.faces.ages_N, seen.faces.groups)
    first_N = truth.errors(seen.whole.first_age)
    columns = {"whole": first_N}
    for part, ages_N in seen.without.items():
        errors_N = truth.errors(ages_N)
        columns |= {f"{part}: error": errors_N, f"{part}: above": errors_N - first_N}
    figures, everyone = _figures(columns, seen.faces, np.arange(len(seen.faces)))
    return {
        "format": 1,
        "model": estimator.card.name,
        "data": {
            "path": faces.data,
            "split": faces.split,
            "found": faces.find,
            "rows": faces.rows,
            "evaluated": len(seen.faces),
        },
        "bootstrap": figures.drawn(),
        "measure": truth.measure,
        "whole": figures.figure(everyone, "whole"),
        "parts": [
            {
                "name": part,
                "error": figures.figure(everyone, f"{part}: error"),
                "above_whole": figures.figure(everyone, f"{part}: above"),
            }
            for part in parts
        ],
        "correction": _correction(seen, truth),
        "versions": versions(),
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _seen(estimator: Estimator, faces: FaceSet, parts: Sequence[str]) -> _Seen:
    """Estimate all rows that can be used."""
    kept: list[Faces] = []
    whole: list[Estimates] = []
    without: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    for batch in faces.batches(estimator.images, BATCH):
        good, said = usable(estimator, batch)
        kept.append(good.without_pixels())
        whole.append(said)
        for part in parts:
            without[part].append(_first_without(estimator, part, good.images_NHWC))
    found = Faces.joined(kept)
    if not len(found):
        raise no_usable_rows(faces.data, faces.split, found.skipped)
    return _Seen(found, joined(whole), {part: np.concatenate(ages) for part, ages in without.items()})


def _first_without(estimator: Estimator, part: str, images_NHWC: np.ndarray) -> np.ndarray:
    model: Any = estimator.model
    with model.without(part):
        return estimator(images_NHWC).first_age


def _correction(seen: _Seen, truth: Truth) -> dict[str, Any]:
    """Share of faces that get a second look, their error before and after correction, and the paired gain."""
    whole = seen.whole
    again = np.flatnonzero(whole.corrections > 0)
    record: dict[str, Any] = {"rows": len(again), "share": len(again) / len(seen.faces)}
    if not len(again):
        return record
    known = truth.take(again)
    before_M, after_M = known.errors(whole.first_age[again]), known.errors(whole.age[again])
    columns = {"before": before_M, "after": after_M, "gain": before_M - after_M}
    figures, everyone = _figures(columns, seen.faces, again)
    return record | {name: figures.figure(everyone, name) for name in columns}


def _figures(columns: dict[str, np.ndarray], faces: Faces, rows: np.ndarray) -> tuple[Figures, Group]:
    everyone = Group("all", "all", np.arange(len(rows)))
    subjects_N = faces.groups.get("subject")
    return Figures(columns, [everyone], None if subjects_N is None else subjects_N[rows]), everyone


def terminal(record: Record) -> RenderableType:
    """The results, within 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    for heading in ("without", record["measure"], "increase"):
        table.add_column(heading, justify="left" if heading == "without" else "right")
    for line in _lines(record):
        table.add_row(*map(Text, line))
    return Lines(Text(title(record)), table, *map(Text, _notes(record)))


def markdown(record: Record) -> str:
    """The results as Markdown, for a model card."""
    table = markdown_table(("without", record["measure"], "increase"), _lines(record))
    notes = " ".join([*_notes(record), f"CILF {record['versions']['cilf']}, {record['evaluated_at']}."])
    return "\n\n".join([f"# {plain(title(record))}: contributions of the parts", plain(notes), table]) + "\n"


def _lines(record: Record) -> list[list[str]]:
    rest = [[plain(p["name"]), with_ends(p["error"]), with_ends(p["above_whole"], sign="+")] for p in record["parts"]]
    return [["(whole network)", with_ends(record["whole"]), ""], *rest]


def _notes(record: Record) -> list[str]:
    bootstrap, correction = record["bootstrap"], record["correction"]
    share = f"{correction['share']:.1%} of the faces get a second look"
    return [
        f"{record['data']['evaluated']:,} faces, first estimates; 95 % bootstrap over {bootstrap['units']:,} "
        f"{bootstrap['over']}, {RESAMPLES:,} resamples, differences paired by face.",
        f"Correction: {share}, so nothing is gained."
        if not correction["rows"]
        else f"Correction: {share}; {record['measure']} of these {with_ends(correction['before'])} before and "
        f"{with_ends(correction['after'])} after, a gain of {with_ends(correction['gain'], sign='+')}.",
    ]
