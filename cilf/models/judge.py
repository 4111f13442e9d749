"""Judges estimates: evidence -> distribution of the true age around the estimate, and expected error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.models.error_ensemble import ErrorEnsemble, around, expected_error, out_of_fold, residuals
from cilf.models.evidence import Decode, EvidenceScaler, Look, evidence


class Verdict(NamedTuple):
    """A judge's output for B rows; years."""

    probs_LBR: Tensor
    """Each member's distribution of the residual."""
    error_B: Tensor
    """Expected error of the estimate."""
    spread_B: Tensor
    """Disagreement of the members about this error: their standard deviation."""

    @property
    def probs_BR(self) -> Tensor:
        """Mean over the members."""
        return self.probs_LBR.mean(dim=0)


class Judge(nn.Module):
    """A fitted judge of one kind of evidence.

    Args:
        scaler, ensemble: map evidence to residual distributions.
        knots_2M: isotonic map from the ensemble's error to the expected error, years: a row of M x values and a row of
            M y values, ascending.
    """

    knots_2M: Tensor

    def __init__(self, scaler: EvidenceScaler, ensemble: ErrorEnsemble, knots_2M: Tensor) -> None:
        super().__init__()
        self.scaler = scaler
        self.ensemble = ensemble
        self.register_buffer("knots_2M", knots_2M)

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Judge:
        """Restore a judge from its `state_dict`.

        Raises:
            KeyError, RuntimeError: tensors are missing, unexpected or of the wrong shape.
        """
        scaler = EvidenceScaler(tensors["scaler.mean_Z"], tensors["scaler.std_Z"])
        judge = cls(scaler, ErrorEnsemble(scaler.width), tensors["knots_2M"])
        judge.load_state_dict(dict(tensors))
        return judge

    def forward(
        self, look: Look, joint_BK: Tensor, age_B: Tensor, space: AgeSpace, decode: Decode, fold_B: Tensor | None = None
    ) -> Verdict:
        """Judge estimates.

        Args:
            look: the evidence.
            joint_BK: its `joint_posterior`.
            age_B: the estimates, years.
            space, decode: ages of the posterior, and how it is decoded.
            fold_B: the folds of rows that the ensemble was fitted on; only members that have not seen a row judge it.

        Raises:
            ValueError: the evidence is of another kind than the judge was fitted on.
        """
        scaled_BZ = self.scaler(evidence(look, joint_BK, space, decode))
        probs_LBR = self.ensemble(scaled_BZ, around(joint_BK, age_B, space)).softmax(dim=-1)
        if fold_B is not None:
            probs_LBR = out_of_fold(probs_LBR, fold_B)
        zero_B1 = torch.zeros_like(age_B)[:, None]
        error_LB = expected_error(probs_LBR, residuals(age_B), zero_B1).squeeze(2)
        spread_B = (error_LB - error_LB.mean(dim=0)).square().mean(dim=0).sqrt()
        return Verdict(probs_LBR, self.calibrated(error_LB.mean(dim=0)), spread_B)

    def calibrated(self, raw_B: Tensor) -> Tensor:
        """Map the ensemble's error to the expected error: linear between the knots, constant outside them."""
        x_M, y_M = self.knots_2M
        right_B = torch.searchsorted(x_M, raw_B.contiguous()).clamp(1, len(x_M) - 1)
        x0_B, x1_B = x_M[right_B - 1], x_M[right_B]
        share_B = ((raw_B - x0_B) / (x1_B - x0_B)).clamp(0, 1)
        return torch.lerp(y_M[right_B - 1], y_M[right_B], share_B)
