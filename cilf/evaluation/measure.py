"""Estimates of a whole labelled set against its ages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from cilf.config import EvaluateOptions
from cilf.datasets.faces import read_faces
from cilf.estimator import Estimates, Estimator
from cilf.evaluation.metrics import BANDS, mae, summarise
from cilf.storage import model_folder

_BATCH = 64


def run(options: EvaluateOptions) -> int:
    """See cilf.evaluation.evaluate."""
    estimator = Estimator(model_folder(options.model))
    faces = read_faces(options.data, options.split, estimator.image_size)
    print(json.dumps(measure(estimate_all(estimator, faces.images_NHWC), faces.ages_N), indent=2))
    return 0


def estimate_all(estimator: Estimator, images_NHWC: np.ndarray) -> Estimates:
    """Estimates of any number of images, uint8 [N, S, S, 3], in their order."""
    batches = [estimator(images_NHWC[i : i + _BATCH]) for i in range(0, len(images_NHWC), _BATCH)]
    names = Estimates.__dataclass_fields__
    return Estimates(**{name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names})


def measure(estimates: Estimates, ages_N: np.ndarray) -> dict[str, Any]:
    """How good estimates, intervals and judgement are: years, shares in 0..1, CS in per cent."""
    inside_N = (estimates.age_low <= ages_N) & (ages_N <= estimates.age_high)
    coverage = {"all": float(inside_N.mean())}
    for name, (low, high) in BANDS.items():
        band_N = (ages_N >= low) & (ages_N < high)
        if band_N.any():
            coverage[name] = float(inside_N[band_N].mean())
    accepted_N = estimates.accepted
    return {
        **summarise(estimates.age, ages_N),
        "mae_before_correction": mae(estimates.first_age, ages_N),
        "interval_coverage": coverage,
        "interval_width": float((estimates.age_high - estimates.age_low).mean()),
        "accepted": float(accepted_N.mean()),
        "mae_accepted": mae(estimates.age[accepted_N], ages_N[accepted_N]) if accepted_N.any() else None,
        "corrected": float((estimates.corrections > 0).mean()),
    }
