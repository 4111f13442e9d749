"""Figures of a model card, without intervals: estimates of labelled faces compared with their ages."""

from __future__ import annotations

from typing import Any

import numpy as np

from cilf.estimator import Estimates, Estimator
from cilf.evaluation.judgement import aurc, calibration_error
from cilf.evaluation.metrics import mae, nearest_ranks, summarise
from cilf.evaluation.scale import YEARS, Scale

BATCH = 64
"""Images per batch."""


def estimate_all(estimator: Estimator, images_NHWC: np.ndarray) -> Estimates:
    """Estimate any number of images, uint8 [N, S, S, 3], in batches; the order stays the same."""
    return joined([estimator(images_NHWC[i : i + BATCH]) for i in range(0, len(images_NHWC), BATCH)])


def joined(batches: list[Estimates]) -> Estimates:
    """Concatenate one or more batches of estimates."""
    names = Estimates.__dataclass_fields__
    return Estimates(**{name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names})


def measure(estimates: Estimates, ages_N: np.ndarray, scale: Scale = YEARS) -> dict[str, Any]:
    """Figures of estimates, intervals and judgement: years or ranks, shares in 0..1, CS and accuracy in per cent."""
    inside_N = (estimates.age_low <= ages_N) & (ages_N <= estimates.age_high)
    coverage = {}
    for name, (low, high) in scale.bands.items():
        band_N = (ages_N >= low) & (ages_N < high)
        if band_N.any():
            coverage[name] = float(inside_N[band_N].mean())
    coverage["all"] = float(inside_N.mean())
    accepted_N = estimates.accepted
    errors_N = np.abs(estimates.age - ages_N)
    return {
        **summarise(estimates.age, ages_N, scale.bands),
        **({"rank_accuracy": 100 * float(nearest_ranks(estimates.age, ages_N).mean())} if scale.ranks else {}),
        "median_absolute_error": float(np.median(errors_N)),
        "mae_before_correction": mae(estimates.first_age, ages_N),
        "interval_coverage": coverage,
        "interval_width": float((estimates.age_high - estimates.age_low).mean()),
        "accepted": float(accepted_N.mean()),
        "mae_accepted": mae(estimates.age[accepted_N], ages_N[accepted_N]) if accepted_N.any() else None,
        "corrected": float((estimates.corrections > 0).mean()),
        "aurc": aurc(errors_N, estimates.expected_error),
        "expected_calibration_error": calibration_error(errors_N, estimates.expected_error),
    }
