"""Estimate a stored set of faces batch by batch, so that memory holds the pixels of only a few batches."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeRemainingColumn

from cilf.datasets.face_sample import FaceSample
from cilf.datasets.faces import Faces, FaceSet, Skipped, no_usable_rows
from cilf.estimator import Estimates, Estimator
from cilf.evaluation.measure import BATCH, joined


@dataclass(frozen=True)
class Estimated:
    """N faces and their estimates."""

    estimates: Estimates
    ages_N: np.ndarray
    """True ages, float32 [N], years; NaN where only a group is known."""
    ids: list[str]
    groups: dict[str, np.ndarray]
    """Labels of the faces, as in Faces."""
    stds_N: np.ndarray | None
    """Standard deviations, as in Faces; None if no row has one."""
    skipped: tuple[Skipped, ...]
    """Rows that are not among the N faces."""
    seconds: float
    """Wall time of reading, decoding and estimating, which overlap."""
    rate: float
    """Images per second of the estimator alone, without the first batch (warm-up) if there are more."""

    def table(self) -> pa.Table:
        """A row per face: id, the truth (`age` and, if known, the annotators' `age_std`; or `age_group`, among the
        labels), the columns of the estimate, and the labels (`groups`)."""
        e = self.estimates
        truth = {} if "age_group" in self.groups else {"age": self.ages_N}
        if self.stds_N is not None:
            truth["age_std"] = self.stds_N
        columns = {
            "id": pa.array(self.ids, pa.string()),
            **truth,
            "estimate": e.age,
            "first_age": e.first_age,
            "age_low": e.age_low,
            "age_high": e.age_high,
            "expected_error": e.expected_error,
            "corrections": e.corrections,
            "accepted": e.accepted,
            **{name: pa.array(values_N, pa.string()) for name, values_N in self.groups.items()},
        }
        return pa.table(columns)


def estimate_set(estimator: Estimator, faces: FaceSet | FaceSample) -> Estimated:
    """Estimate all usable rows, with a progress bar on stderr if that is a terminal.

    Raises:
        UsageError: no row can be used.
        JobError: the data could not be read completely.
    """
    started = time.perf_counter()
    estimates: list[Estimates] = []
    kept: list[Faces] = []
    timed: list[tuple[int, float]] = []
    with _bar() as bar:
        task = bar.add_task("", total=faces.rows)
        for batch in faces.batches(estimator.images, BATCH):
            before = time.perf_counter()
            good, said = usable(estimator, batch)
            if len(batch):
                timed.append((len(batch), time.perf_counter() - before))
            estimates.append(said)
            kept.append(good.without_pixels())
            bar.advance(task, len(batch) + len(batch.skipped))
    seen = Faces.joined(kept)
    if not len(seen):
        raise no_usable_rows(faces.data, faces.split, seen.skipped)
    has_stds = seen.stds_N is not None and bool((seen.stds_N >= 0).any())
    images, seconds = np.sum(timed[1:] or timed, axis=0)
    return Estimated(
        estimates=joined(estimates),
        ages_N=seen.ages_N,
        ids=seen.ids,
        groups=seen.groups,
        stds_N=seen.stds_N if has_stds else None,
        skipped=seen.skipped,
        seconds=time.perf_counter() - started,
        rate=float(images / seconds),
    )


def usable(estimator: Estimator, batch: Faces) -> tuple[Faces, Estimates]:
    """Estimate a batch; faces without a finite estimate, or with a label outside the model's ranks, are skipped."""
    said = estimator(batch.images_NHWC)
    finite_N = np.isfinite(np.stack([getattr(said, name) for name in _NUMBERS])).all(axis=0)
    ranked_N = _ranked(estimator, batch)
    skipped = [Skipped(batch.ids[row], "the model gives no number") for row in np.flatnonzero(~finite_N)]
    skipped += [
        Skipped(batch.ids[row], f"{batch.ages_N[row]:g} is not one of the model's ranks")
        for row in np.flatnonzero(finite_N & ~ranked_N)
    ]
    good = np.flatnonzero(finite_N & ranked_N)
    faces = replace(batch.take(good), skipped=(*batch.skipped, *skipped))
    return faces, Estimates(**{name: getattr(said, name)[good] for name in _ALL})


def _ranked(estimator: Estimator, batch: Faces) -> np.ndarray:
    """Bool [N]: True where the label is one of the model's ranks, and everywhere if the model estimates ages."""
    ages = estimator.card.model.ages
    if ages.names is None:
        return np.ones(len(batch), bool)
    ages_N = batch.ages_N
    return (ages_N >= ages.youngest) & (ages_N <= ages.oldest) & (ages_N == np.rint(ages_N))


_ALL = tuple(Estimates.__dataclass_fields__)
_NUMBERS = ("age", "age_low", "age_high", "first_age", "expected_error")


def _bar() -> Progress:
    columns = (SpinnerColumn(), MofNCompleteColumn(), "faces", TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
