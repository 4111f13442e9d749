"""Fit a trained model's corrector on faces that the model has not seen."""

from __future__ import annotations

import torch
from torch import Tensor

from cilf.datasets.faces import Faces
from cilf.estimator import predictions
from cilf.models.cilf import CILF
from cilf.models.corrector import Corrector
from cilf.models.corrector_fit import CorrectionTable, Plan, fit_corrector
from cilf.models.evidence import Predictions
from cilf.models.pixels import Normalise

_FOR_ENSEMBLE = 0.45
"""Share of the held-out faces that teach the error ensemble; the others set thresholds and intervals."""


def calibrate(model: CILF, faces: Faces, plan: Plan, seed: int) -> Corrector:
    """The corrector of `model` from held-out faces, each taken for another person.

    Args:
        model: in eval mode.
        faces: crops of the model's size that it was not fitted to.
        plan: what the corrector is to achieve.
        seed: of the split and of every draw.
    """
    table = correction_table(model, faces, plan.max_views)
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed)).to(table.ages_N.device)
    teaching = round(len(faces) * _FOR_ENSEMBLE)
    return fit_corrector(model.ages, table.at(order[:teaching]), table.at(order[teaching:]), plan, seed)


def correction_table(model: CILF, faces: Faces, max_views: int, batch_size: int = 128) -> CorrectionTable:
    """Predictions of all faces under the first `max_views` views."""
    device = next(model.parameters()).device
    normalise = Normalise(model.spec.images.mean, model.spec.images.std).to(device)
    parts = [
        predictions(model, normalise(torch.from_numpy(images).to(device)), 0, max_views, torch.float32)
        for images in (faces.images_NHWC[i : i + batch_size] for i in range(0, len(faces), batch_size))
    ]

    def join(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    return CorrectionTable(
        Predictions(join("probs_BVK"), join("others_BVD")),
        torch.from_numpy(faces.ages_N).to(device),
        torch.arange(len(faces), device=device),
    )
