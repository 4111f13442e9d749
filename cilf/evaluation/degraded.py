"""`cilf evaluate --degraded`: how far estimates move and how much worse they get on degraded photographs.

Each degradation is applied to the files of the data, before they are decoded, so that every later step is the same as
in labelling. All degradations use the same faces, and each degraded face is compared with the original.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console

from cilf.card import Images
from cilf.config import EvaluateOptions
from cilf.datasets.face_sample import sampled
from cilf.datasets.faces import MAX_PIXELS, Alteration, FaceSet, NoUsableRows
from cilf.estimator import Estimator
from cilf.evaluation import degraded_plot, degraded_tables
from cilf.evaluation.degradations import DEGRADATIONS, Degradation
from cilf.evaluation.figures import Figures, Group
from cilf.evaluation.stream import Estimated, estimate_set
from cilf.evaluation.truth import Truth
from cilf.images import faces
from cilf.images.decode import DecodeError, read
from cilf.memory import keep_freed_memory
from cilf.own_files import check_results
from cilf.provenance import versions
from cilf.storage import CHECKING, check_output, locate, model_folder, write_all

FILES = ("degraded.json", "degraded.md", "degraded.png")
"""Files that a run writes."""

ROWS = 600
"""Number of faces in the sample: the whole table takes the time of estimating 13,800 faces."""

_UNSEEN = Images(size=32)
"""Settings for crops that are not used."""

_LONGEST = 16_383
"""Longest side in pixels: the limit of a WebP file."""


def run(options: EvaluateOptions) -> int:
    """Print and write the table of degradations."""
    folder = model_folder(options.model)
    target = locate(options.output or f"runs/evaluate/{locate(options.model).path.rpartition('/')[2]}", CHECKING)
    face_set = FaceSet(options.data, options.split, options.find)
    check_output(target)
    check_results(target, FILES, "model", "degradations")
    keep_freed_memory()
    record = measure_degraded(Estimator(folder), face_set)
    files = (
        json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode(),
        degraded_tables.markdown(record).encode(),
        degraded_plot.picture(record),
    )
    write_all(target, dict(zip(FILES, files, strict=True)))
    Console(highlight=False).print(degraded_tables.terminal(record))
    print(f"degraded.md, degraded.png and degraded.json are in {target.url}")
    return 0


def measure_degraded(estimator: Estimator, face_set: FaceSet, most: int = ROWS) -> dict[str, Any]:
    """Estimate a sample of labelled faces as they are and under each degradation.

    Args:
        most: largest number of faces in the sample.

    Returns:
        The contents of degraded.json, as strict JSON types: years, ranks or per cent, shares in 0..1.

    Raises:
        UsageError: no face of the sample can be used as it is.
        JobError: the data could not be read completely.
    """
    sample = sampled(face_set, most)
    clean = estimate_set(estimator, sample)
    truth = Truth.of(estimator.card.model.ages.space, face_set.age_groups, clean.ages_N, clean.groups)
    rows = [{"name": "as it is", "kind": "", **_compared(clean, clean, truth)}]
    for degradation in DEGRADATIONS:
        try:
            seen = estimate_set(estimator, replace(sample, altered=_altered(degradation, sample.find)))
        except NoUsableRows:  # a valid result of a degradation
            seen = None
        rows.append({"name": degradation.name, "kind": degradation.kind, **_compared(seen, clean, truth)})
    return {
        "format": 1,
        "model": estimator.card.name,
        "data": {
            "path": face_set.data,
            "split": face_set.split,
            "found": face_set.find,
            "rows": face_set.rows,
            "sampled": sample.rows,
        },
        "measure": truth.measure,
        "unit": truth.unit,
        "age_groups": None if truth.groups is None else [group.name for group in truth.groups],
        "degradations": rows,
        "versions": versions(),
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _altered(degradation: Degradation, find: bool) -> Alteration:
    """Returns the function that degrades a row's file, and scales its box if the photograph is shrunk."""

    def alter(row_id: str, data: bytes, box: list[float] | None) -> tuple[bytes, list[float] | None]:
        image_HWC = read(data, _LONGEST, MAX_PIXELS).upright
        height, width = image_HWC.shape[:2]
        if max(height, width) > _LONGEST:
            raise DecodeError("too_large", f"{width} x {height} pixels: a side is longer than {_LONGEST:,}")
        side = _side(data, box, find, min(height, width)) if degradation.face else 0.0
        changed_HWC = degradation.pixels(image_HWC, side, int(row_id))
        factor = len(changed_HWC) / height
        return degradation.saved(changed_HWC), box and [factor * end for end in box]

    return alter


def _side(data: bytes, box: Sequence[float] | None, find: bool, shorter: int) -> float:
    """Side of the face, pixels: the mean of the sides of its box, given or found, or the shorter side of a crop."""
    if box is None and find:
        found = faces.find(data, _UNSEEN, MAX_PIXELS)
        box = found.boxes_N4[found.middle].tolist()
    side = shorter if box is None else (box[2] - box[0] + box[3] - box[1]) / 2
    return float(side if side > 0 else shorter)


def _compared(seen: Estimated | None, clean: Estimated, truth: Truth) -> dict[str, Any]:
    """Figures of the faces that could be estimated both degraded and as they are, with 95 % bootstrap intervals.

    Args:
        seen: estimates of the degraded faces; None if no face could be estimated.
        clean: estimates of the faces as they are.
        truth: truth of the faces in `clean`.
    """
    _, at, at_clean = np.intersect1d([] if seen is None else seen.ids, clean.ids, return_indices=True)
    counts = {"rows": len(at), "lost": len(clean.ids) - len(at)}
    if seen is None or not len(at):
        return counts
    known, e, before_N = truth.take(at_clean), seen.estimates, clean.estimates.age[at_clean]
    age_N, low_N, high_N = e.age[at], e.age_low[at], e.age_high[at]
    columns = {
        "error": known.errors(age_N),
        "above_clean": known.errors(age_N) - known.errors(before_N),
        "moved": np.abs(age_N - before_N),
        "covered": known.covered(low_N, high_N),
        "width": high_N - low_N,
        "accepted": e.accepted[at],
    }
    subjects_N = clean.groups.get("subject")
    everyone = Group("all", "all", np.arange(len(at)))
    figures = Figures(columns, [everyone], None if subjects_N is None else subjects_N[at_clean])
    return counts | {name: figures.figure(everyone, name) for name in columns}
