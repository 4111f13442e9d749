"""The results of a leave-one-person-out evaluation: each system's error, pooled and by person, with intervals over
people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import RenderableType

from cilf.evaluation.bootstrap import LEVEL, RESAMPLES, SEED, interval, resample
from cilf.evaluation.metrics import BANDS, within_years
from cilf.lopo.heads import CIAE
from cilf.lopo.people import People
from cilf.lopo.plot import picture
from cilf.lopo.tables import markdown, terminal
from cilf.protocols.fgnet import one_out
from cilf.protocols.leakage import leakage, told
from cilf.provenance import versions
from cilf.storage import Location, write_all

FILES = ("lopo.json", "lopo.md", "lopo.csv", "lopo.png", "estimates.parquet")
"""Files of results that a leave-one-person-out evaluation writes to its folder."""

CORRECTED = f"{CIAE}, corrected"


@dataclass(frozen=True)
class Results:
    """The results of an evaluation."""

    record: dict[str, Any]
    """Content of lopo.json, with strict JSON types. Errors are in years; CS and shares in per cent."""
    estimates: pa.Table
    """A row per photograph: id, subject, age, and the estimate of each system."""

    def write(self, folder: Location) -> None:
        """Write lopo.md, .csv, .json and .png and estimates.parquet.

        Raises:
            UsageError: the folder cannot be written.
        """
        parquet = io.BytesIO()
        pq.write_table(self.estimates, parquet)
        files = {
            "lopo.json": json.dumps(self.record, indent=2, ensure_ascii=False, allow_nan=False).encode(),
            "estimates.parquet": parquet.getvalue(),
            "lopo.csv": _csv(self.record).encode(),
            "lopo.png": picture(self.record),
            "lopo.md": markdown(self.record).encode(),
        }
        write_all(folder, files)

    def terminal(self) -> RenderableType:
        """The table, within 80 columns."""
        return terminal(self.record)


def results(people: People, found_N: np.ndarray, estimates: Mapping[str, pa.Table]) -> Results:
    """Computes the results.

    Args:
        found_N: number of faces found in each photograph.
        estimates: cilf.lopo.fold.ROWS of each system, for all photographs in their order.
    """
    said, judged = {}, {}
    for system, table in estimates.items():
        before = table["first_age"].to_numpy().astype(np.float64)
        if table["estimate"].null_count:
            said[system] = before
            continue
        # The model as it is, which is not fitted here, counts as it labels: corrected. CILF-CIAE counts at both stages.
        name = CORRECTED if system == CIAE else system
        if system == CIAE:
            said[system] = before
        said[name] = table["estimate"].to_numpy().astype(np.float64)
        judged[name] = table
    folds = [leakage(fold, people.subjects_N) for fold in one_out(people.subjects_N)]
    record = {
        "format": 1,
        "photographs": len(people),
        "people": len(people.subjects),
        "without_a_face": int((found_N == 0).sum()),
        "with_several_faces": int((found_N > 1).sum()),
        "leakage": {"told": told(folds), "shared": sum(one.shared for one in folds)},
        "bootstrap": {"over": "people", "resamples": RESAMPLES, "level": LEVEL, "seed": SEED},
        "systems": _measured(people, said, judged),
        "versions": versions(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    columns = {"id": people.ids, "subject": people.subjects_N.tolist(), "age": people.ages_N}
    return Results(record, pa.table({**columns, **said}))


def _measured(people: People, said: Mapping[str, np.ndarray], judged: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    ages_N = people.ages_N.astype(np.float64)
    person_N = np.unique(people.subjects_N.astype(str), return_inverse=True)[1]
    counts = np.bincount(person_N)
    columns: dict[tuple[str, str], np.ndarray] = {}
    for system, age_N in said.items():
        columns[system, "mae"] = np.abs(age_N - ages_N)
        columns[system, "cs5"] = 100.0 * within_years(age_N - ages_N)
        columns[system, "bias"] = age_N - ages_N
        if CIAE in said and system != CIAE:
            columns[system, "against"] = columns[system, "mae"] - np.abs(said[CIAE] - ages_N)
    for system, table in judged.items():
        low, high = (table[name].to_numpy() for name in ("age_low", "age_high"))
        columns[system, "coverage"] = 100.0 * ((low <= ages_N) & (ages_N <= high))
        columns[system, "width"] = (high - low).astype(np.float64)
        columns[system, "accepted"] = 100.0 * table["accepted"].to_numpy(zero_copy_only=False)
    values_NK = np.stack(list(columns.values()), axis=1)
    means_RK = resample(values_NK, [np.arange(len(ages_N))], person_N).means_RGK[:, 0]
    rows: dict[str, dict[str, Any]] = {system: {"system": system} for system in said}
    for place, (system, name) in enumerate(columns):
        low, high = interval(means_RK[:, place]) or (None, None)
        rows[system][name] = {"value": float(values_NK[:, place].mean()), "low": low, "high": high}
    for system, row in rows.items():
        error_N = columns[system, "mae"]
        each = np.bincount(person_N, error_N) / counts
        row["by_person"] = {"mean": float(each.mean()), "std": float(each.std(ddof=1))}
        row["by_age"] = {
            band: {"photographs": int(inside.sum()), "mae": float(error_N[inside].mean())}
            for band, (low, high) in BANDS.items()
            if (inside := (ages_N >= low) & (ages_N < high)).any()
        }
    return list(rows.values())


def _csv(record: Mapping[str, Any]) -> str:
    """CSV with a line per system; figures that a system does not have are empty."""
    text = io.StringIO(newline="")
    figures = ("mae", "cs5", "bias", "against", "coverage", "width", "accepted")
    lines = csv.writer(text)
    bands = list(record["systems"][0]["by_age"])
    named = [f"{name}{end}" for name in figures for end in ("", "_low", "_high")]
    lines.writerow(["system", *named, "person_mean", "person_std", *(f"mae_{band}" for band in bands)])
    for row in record["systems"]:
        found = [row[name][part] if name in row else None for name in figures for part in ("value", "low", "high")]
        by_age = [row["by_age"][band]["mae"] for band in bands]
        lines.writerow([row["system"], *found, *row["by_person"].values(), *by_age])
    return text.getvalue()
