"""One fold of a leave-one-person-out evaluation: fits a system on all people but one, and estimates that one's ages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cilf.lopo.correction import PHOTOGRAPHS, corrected, fit_correction
from cilf.lopo.fitting import ask, fit
from cilf.lopo.heads import CIAE
from cilf.lopo.material import Material
from cilf.models.corrector import Judged

ROWS = pa.schema(
    [
        ("row", pa.int64()),
        ("first_age", pa.float32()),
        ("estimate", pa.float32()),
        ("age_low", pa.float32()),
        ("age_high", pa.float32()),
        ("expected_error", pa.float32()),
        ("accepted", pa.bool_()),
    ]
)
"""A row per photograph. row: its index in the set. first_age: years, before correction. The columns after it are null
without correction: estimate (years, corrected), the 90 % interval, the expected error (years), whether accepted."""


def person(material: Material, system: str, subject: str, rate: float) -> pa.Table:
    """Fit a system on all people but `subject`, and return that person's estimates as ROWS."""
    rows = np.flatnonzero(material.subjects_N == subject)
    others = np.flatnonzero(material.subjects_N != subject)
    model = fit(system, material.given, *material.rows(others), rate, material.seed)
    said = ask(system, model, material.rows(rows)[0])
    most = int(np.unique(material.subjects_N.astype(str), return_counts=True)[1].max())
    # Correction is fitted for all people or for none: a figure over only some corrected people would be meaningless.
    if system != CIAE or len(material.subjects_N) - most < PHOTOGRAPHS:
        return uncorrected(rows, said.ages_N.numpy())
    return judged_rows(rows, corrected(fit_correction(material, others, rate), said))


def uncorrected(rows: np.ndarray, ages_n: np.ndarray) -> pa.Table:
    """ROWS with only the estimates before correction."""
    empty = [pa.nulls(len(rows), column.type) for column in list(ROWS)[2:]]
    return pa.table([pa.array(rows), pa.array(ages_n, pa.float32()), *empty], schema=ROWS)


def judged_rows(rows: np.ndarray, judged: Judged) -> pa.Table:
    """ROWS with corrected estimates."""
    columns = (
        judged.first_age_B,
        judged.age_B,
        judged.low_B,
        judged.high_B,
        judged.expected_error_B,
        judged.accepted_B,
    )
    return pa.table([pa.array(rows), *(pa.array(column.numpy()) for column in columns)], schema=ROWS)
