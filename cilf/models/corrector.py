"""Judge an age estimate and correct it where it fails: the reversible age estimation of CILF-CIAE.

CILF-CIAE (arXiv 2312.01758) corrects an estimate by descending a learned error, after GEESE, whose physical
simulator gives the exact error of any state. At labelling time nothing gives the exact error of an age, so
here every judgement is an estimate, and another evaluation means new evidence: more views of the row.

    judge   evidence -> residual distribution -> judged error ê, best shift, disagreement u
    label   judge all rows; take more views of those with ê > ε and judge those again; interval

It takes any model's posteriors. How a corrector is fitted: cilf.models.corrector_fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cilf.ages import AgeSpace
from cilf.models.conformal import widen
from cilf.models.error_ensemble import ErrorEnsemble, expected_error, residual_quantile, residuals
from cilf.models.evidence import Decode, EvidenceScaler, Predict, Predictions, Seen, decode_age, evidence
from cilf.models.inversion import Mode, by_candidates, by_gradient

TRUST = 10.0
"""The farthest an estimate may be moved, years: our own choice."""

REASONS = ("ok", "ok_after_k", "not_converged", "ood")
"""What `Judged.reason_B` counts: accepted at once, accepted after more views, judged error still above ε, and
members or frozen embedding unlike those of calibration."""
OK, OK_AFTER_K, NOT_CONVERGED, OOD = range(4)


class Constants(BaseModel):
    """The numbers of a corrector that are not tensors: `correction` in a model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    youngest: int
    oldest: int
    decode: Decode = "median"
    """What the first estimate is."""
    mode: Mode = "closed"
    """How the estimate with the least judged error is found."""
    max_views: int = Field(default=4, ge=1)
    """Views of a row at which its estimate stands as it is; a power of two."""
    term_weights: tuple[float, ...] = (1.0, 0.0)
    """Of the judged error's terms: ensemble, the posterior's own expected error, distance to each other decode."""
    epsilon: float = float("inf")
    """Judged error above which an estimate fails, years."""
    epsilon_by: Literal["risk", "budget"] = "budget"
    """`risk`: accepted rows keep the target MAE with 95 % confidence. `budget`: as many failing rows as the
    allowed extra views pay for."""
    target_mae: float | None = None
    """The MAE asked of accepted rows, years."""
    shrinkage: float = Field(default=0.0, ge=0, le=1)
    """λ: the share of the shift to the judged optimum that is taken. 0: estimates are never moved."""
    min_gain: float = 0.0
    """δ: least judged gain for which an estimate is moved, years."""
    moving: str = "not calibrated"
    """Why estimates are or are not moved."""
    max_spread: float = float("inf")
    """Disagreement of the members above which a row is not accepted, years."""
    max_distance: float = float("inf")
    """Mahalanobis distance of the frozen embedding above which a row is not accepted."""
    alpha: float = 0.1
    """The interval misses the truth for this share of subjects."""
    beta: float = 0.5
    """Added to the judged error where it scales an interval, years."""
    band_edges: tuple[float, ...] = ()
    """Between the bands of true age with an interval level of their own, years."""
    band_quantiles: tuple[float, ...] = (0.0,)
    """Conformal quantile of each band."""
    measured: dict[str, float | None] = {}
    """On the calibration rows; for information."""


class Opinion(NamedTuple):
    """What one look at the evidence says; tensors [B], years."""

    age_B: Tensor
    error_B: Tensor
    spread_B: Tensor
    distance_B: Tensor
    low_B: Tensor
    high_B: Tensor
    """Ends of the central 1 - α of the residual distribution, before conformal widening."""


@dataclass(frozen=True)
class Judged:
    """One answer per row, tensors [B] on the device of the posteriors; ages and errors in float32 years."""

    age_B: Tensor
    """The estimate with the most evidence."""
    first_age_B: Tensor
    """The estimate of the first view, as the model gave it."""
    low_B: Tensor
    high_B: Tensor
    """Ends of the interval; both are kept inside the age range and around `age_B`."""
    expected_error_B: Tensor
    corrections_B: Tensor
    """int64: rounds of further views taken; each doubles the views."""
    accepted_B: Tensor
    """bool. False never says more than that the estimate could not be shown to be good."""
    reason_B: Tensor
    """int64, index into REASONS."""


class Corrector(nn.Module):
    """A fitted corrector.

    Args:
        constants: thresholds and switches.
        scaler, ensemble: from evidence to residual distribution.
        knots_V2M: isotonic map from raw to expected error, years, after 1, 2, 4 ... views: M abscissae over M
            ordinates, ascending.
    """

    knots_V2M: Tensor

    def __init__(
        self, constants: Constants, scaler: EvidenceScaler, ensemble: ErrorEnsemble, knots_V2M: Tensor
    ) -> None:
        super().__init__()
        self.constants = constants
        self.space = AgeSpace(constants.youngest, constants.oldest)
        self.scaler = scaler
        self.ensemble = ensemble
        self.register_buffer("knots_V2M", knots_V2M)
        self.eval().requires_grad_(False)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors for a safetensors file, to be kept in float32, and constants for JSON."""
        return dict(self.state_dict()), self.constants.model_dump(mode="json")

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Corrector:
        """The corrector whose `state` this was.

        Raises:
            ValueError: constants of another format, or tensors that are missing, left over or misshapen.
        """
        tensors = {name: value.float() for name, value in tensors.items()}
        try:
            scaler = EvidenceScaler(
                tensors["scaler.mean_Z"],
                tensors["scaler.std_Z"],
                tensors.get("scaler.centre_C"),
                tensors.get("scaler.axes_CP"),
            )
            corrector = cls(
                Constants.model_validate(constants), scaler, ErrorEnsemble(scaler.width), tensors["knots_V2M"]
            )
            corrector.load_state_dict(tensors)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"not the tensors of a corrector: {error}") from error
        return corrector

    @torch.no_grad()
    def judge(self, seen: Seen) -> Opinion:
        """Judge each row by all evidence seen of it, and move the estimate where that is judged to help.

        Raises:
            ValueError: evidence of another kind than the corrector was fitted on.
        """
        constants = self.constants
        age_B = decode_age(seen.posterior_BK, self.space, constants.decode)
        scaled_BZ, distance_B = self.scaler(evidence(seen, self.space, constants.decode), seen.frozen_BC)
        probs_LBR = self.ensemble(scaled_BZ).softmax(dim=-1)
        probs_BR = probs_LBR.mean(dim=0)

        def spread(x_BS: Tensor) -> Tensor:
            error_LBS = expected_error(probs_LBR, residuals(x_BS), x_BS - age_B[:, None])
            return (error_LBS - error_LBS.mean(dim=0)).square().mean(dim=0).sqrt()

        def error(x_BS: Tensor) -> Tensor:
            weights = enumerate(constants.term_weights)
            return torch.stack(
                [w * error_term(j, x_BS, age_B, probs_BR, seen, self.space) for j, w in weights if w]
            ).sum(dim=0)

        raw_B = error(age_B[:, None]).squeeze(1)
        error_B = self._calibrated(raw_B, seen.views)
        spread_B = spread(age_B[:, None]).squeeze(1)
        moved_B = age_B
        if constants.shrinkage > 0 or constants.mode == "candidates":
            target_B = self.space.clamp(age_B + residual_quantile(probs_BR, 0.5).clamp(-TRUST, TRUST))
            low_B, high_B = self.space.clamp(age_B - TRUST), self.space.clamp(age_B + TRUST)
            if constants.mode == "gradient":
                target_B = by_gradient(error, low_B, high_B)
            elif constants.mode == "candidates":
                target_B, explore_B = by_candidates(error, spread, low_B, high_B)
                # GEESE asks its simulator about the state it knows least. Nothing answers here, so the
                # ignorance itself is what is learnt: it decides whether the row can be accepted.
                spread_B = spread(explore_B[:, None]).squeeze(1)
            # Gains are compared before the isotonic map, whose flat ends would hide them.
            gain_B = raw_B - error(target_B[:, None]).squeeze(1)
            move_B = (error_B > constants.epsilon) & (gain_B > constants.min_gain)
            step_B = self.space.clamp(age_B + constants.shrinkage * (target_B - age_B))
            moved_B = torch.where(move_B, step_B, age_B)
            error_B = self._calibrated(error(moved_B[:, None]).squeeze(1), seen.views)
        return Opinion(
            moved_B,
            error_B,
            spread_B,
            distance_B,
            age_B + residual_quantile(probs_BR, constants.alpha / 2),
            age_B + residual_quantile(probs_BR, 1 - constants.alpha / 2),
        )

    def settle(self, first: Predictions, predict: Predict) -> tuple[Judged, Opinion]:
        """`label` without its interval, and each row's last opinion, which the interval is made of."""
        constants = self.constants
        seen = Seen.of(first, self.space, constants.decode)
        first_age_B = decode_age(seen.posterior_BK, self.space, constants.decode)
        last = self.judge(seen)
        corrections_B = torch.zeros_like(first_age_B, dtype=torch.long)
        rows = torch.arange(len(first_age_B), device=first_age_B.device)
        failing = self._failing(last.error_B)
        while seen.views < constants.max_views and failing.any():
            rows, seen = rows[failing], seen.at(failing)
            new = predict(rows, seen.views, seen.views)
            seen = seen.plus(Seen.of(new, self.space, constants.decode))
            opinion = self.judge(seen)
            # The latest evidence replaces the old. Keeping the round with the least ê would be a winner's
            # curse: GEESE may do so because its errors are exact.
            last = Opinion(*(old.index_copy(0, rows, new) for old, new in zip(last, opinion, strict=True)))
            corrections_B[rows] += 1
            failing = self._failing(opinion.error_B)
        failed_B = self._failing(last.error_B)
        usual_B = (last.spread_B <= constants.max_spread) & (last.distance_B <= constants.max_distance)
        reason_B = torch.where(corrections_B > 0, OK_AFTER_K, OK)
        reason_B = reason_B.masked_fill(~usual_B, OOD).masked_fill(failed_B, NOT_CONVERGED)
        judged = Judged(
            age_B=last.age_B,
            first_age_B=first_age_B,
            low_B=last.age_B,
            high_B=last.age_B,
            expected_error_B=last.error_B,
            corrections_B=corrections_B,
            accepted_B=~failed_B & usual_B,
            reason_B=reason_B,
        )
        return judged, last

    @torch.no_grad()
    def label(self, first: Predictions, predict: Predict) -> Judged:
        """Judge every row, take more views of the failing ones, and give each an interval.

        Args:
            first: predictions of the plain view of all rows, [B, 1, K].
            predict: asked for further views of failing rows only, doubling up to `max_views`.

        Raises:
            ValueError: posteriors or evidence of another kind than the corrector was fitted on.
        """
        judged, last = self.settle(first, predict)
        constants = self.constants
        limits = (float(self.space.youngest), float(self.space.oldest))
        scale_B = last.error_B + constants.beta
        low_B, high_B = widen(last.low_B, last.high_B, scale_B, constants.band_quantiles, constants.band_edges, limits)
        return replace(judged, low_B=low_B.minimum(judged.age_B), high_B=high_B.maximum(judged.age_B))

    def _failing(self, error_B: Tensor) -> Tensor:
        # Not `error > ε`: a posterior of NaN must fail.
        return ~(error_B <= self.constants.epsilon)

    def _calibrated(self, raw_B: Tensor, views: int) -> Tensor:
        """Expected error for a raw one: linear between the knots, constant outside them."""
        x_M, y_M = self.knots_V2M[views.bit_length() - 1]
        right_B = torch.searchsorted(x_M, raw_B.contiguous()).clamp(1, len(x_M) - 1)
        x0_B, x1_B = x_M[right_B - 1], x_M[right_B]
        share_B = ((raw_B - x0_B) / (x1_B - x0_B)).clamp(0, 1)
        return torch.lerp(y_M[right_B - 1], y_M[right_B], share_B)


def error_term(term: int, x_BS: Tensor, age_B: Tensor, probs_BR: Tensor, seen: Seen, space: AgeSpace) -> Tensor:
    """One term of the judged error of S estimates per row, [B, S] -> [B, S] years; convex and 1-Lipschitz in x.

    Term 0 is implicit: the ensemble's E|x - Y|. The explicit ones need no label and no fit: 1, E|x - Y| under
    the posterior itself; 2 and on, the distance to each other decode.
    """
    if term == 0:
        return expected_error(probs_BR[None], residuals(x_BS), x_BS - age_B[:, None]).squeeze(0)
    if term == 1:
        return expected_error(seen.posterior_BK[None], space.years(x_BS), x_BS).squeeze(0)
    assert seen.other_ages_BD is not None
    return (x_BS - seen.other_ages_BD[:, term - 2, None]).abs()
