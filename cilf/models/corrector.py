"""Judges age estimates and corrects those that fail: the reversible age estimation of CILF-CIAE.

CILF-CIAE (arXiv 2312.01758) corrects an estimate by minimising a learned error. It follows GEESE, whose
physical simulator gives the exact error of any state. At labelling time the exact error of an age is unknown, so here
every judgement is an estimate, and a further evaluation means new evidence: an independent second network.

    judge   evidence -> residual distribution -> judged error ê
    label   judge all rows; ask the second network about those with ê > ε, judge these by both posteriors; interval

It works on any model's posteriors. cilf.models.corrector_fit fits a corrector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cilf.age_space import AgeSpace
from cilf.models.conformal import widen
from cilf.models.error_ensemble import expected_error, residual_quantile, residuals
from cilf.models.evidence import Decode, Look, decode_age, joint_posterior
from cilf.models.familiarity import Familiarity
from cilf.models.judge import Judge

TRUST = 10.0
"""Limit on how far an estimate may be moved, years; our own choice."""

REASONS = ("ok", "ok_after_second_look", "not_converged", "unlike_calibration")
"""Names for the indices in `Judged.reason_B`: accepted at once; accepted after a second look; judged error still above
ε; disagreement of the members, embedding or quality unlike those of the calibration rows."""
OK, OK_AFTER_SECOND_LOOK, NOT_CONVERGED, UNLIKE = range(4)

Ask = Callable[[Tensor], Tensor]
"""Row numbers, int64 [n] -> the second network's posteriors for these rows, [n, K], in the same order."""


class Constants(BaseModel):
    """The parameters of a corrector that are not tensors; stored as `correction` in a model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    youngest: int
    oldest: int
    decode: Decode = "median"
    """The statistic of a posterior that is the estimate."""
    epsilon: float = float("inf")
    """Judged error above which an estimate fails, years."""
    joint_weights: tuple[float, float] = (1.0, 0.0)
    """Weights of the first and the second network's log-posterior, for rows that both are asked about."""
    second_look: str = "not calibrated"
    """Why the second network is or is not asked about failing rows."""
    shrinkage: float = Field(default=0.0, ge=0, le=1)
    """λ: the share of the shift to the judged optimum that is applied; at 0, estimates are never moved."""
    moving: str = "not calibrated"
    """Why estimates are or are not moved."""
    max_spread: float = float("inf")
    """Disagreement of the members above which a row is not accepted, years."""
    max_distance: float = float("inf")
    """Distance (cilf.models.familiarity) above which a row is not accepted."""
    alpha: float = 0.1
    """The share of subjects for whom the interval may miss the truth."""
    beta: float = 0.5
    """Constant added to the judged error when it scales an interval, years."""
    band_edges: tuple[float, ...] = ()
    """Boundaries between the bands of true age, each of which has its own interval level; years."""
    band_quantiles: tuple[float, ...] = (0.0,)
    """Conformal quantile of each band."""
    measured: dict[str, float | None] = {}
    """Metrics on the calibration rows; for information only."""


class Opinion(NamedTuple):
    """The judgement of B rows by all their evidence; tensors [B], years."""

    age_B: Tensor
    error_B: Tensor
    spread_B: Tensor
    low_B: Tensor
    high_B: Tensor
    """Ends of the central 1 - α of the residual distribution, before conformal widening."""


@dataclass(frozen=True)
class Judged:
    """The results for B rows, tensors [B] on the device of the posteriors; ages and errors in float32 years."""

    age_B: Tensor
    """The final estimate, from all evidence."""
    first_age_B: Tensor
    """The model's own estimate, before any second look or move."""
    low_B: Tensor
    high_B: Tensor
    """Ends of the interval, which lies inside the age range and contains `age_B`."""
    expected_error_B: Tensor
    corrections_B: Tensor
    """int64: number of second looks, 0 or 1."""
    accepted_B: Tensor
    """bool. False means only that the estimate could not be shown to be good, not that it is bad."""
    reason_B: Tensor
    """int64, index into REASONS."""


class Corrector(nn.Module):
    """A fitted corrector.

    Args:
        constants: thresholds.
        familiarity: measures how unlike the calibration rows a row is.
        first: judge for rows that only the model has looked at.
        second: judge for rows that the second network has looked at too; None if there is none.
    """

    def __init__(
        self, constants: Constants, familiarity: Familiarity, first: Judge, second: Judge | None = None
    ) -> None:
        super().__init__()
        self.constants = constants
        self.space = AgeSpace(constants.youngest, constants.oldest)
        self.familiarity = familiarity
        self.first = first
        self.second = second
        self.eval().requires_grad_(False)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors for a safetensors file, which must stay in float32, and constants for JSON."""
        return dict(self.state_dict()), self.constants.model_dump(mode="json")

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Corrector:
        """Restore a corrector from its `state`.

        Raises:
            ValueError: constants of another format, or tensors that are missing, unexpected or of the wrong shape.
        """
        of = {
            part: {name.removeprefix(part): t.float() for name, t in tensors.items() if name.startswith(part)}
            for part in ("familiarity.", "first.", "second.")
        }
        try:
            first = Judge.from_state(of["first."])
            second = Judge.from_state(of["second."]) if of["second."] else None
            familiarity = Familiarity.from_state(of["familiarity."])
            corrector = cls(Constants.model_validate(constants), familiarity, first, second)
            corrector.load_state_dict(dict(tensors))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"not the tensors of a corrector: {error}") from error
        return corrector

    @torch.no_grad()
    def judge(self, look: Look, fold_B: Tensor | None = None) -> Opinion:
        """Judge each row by all its evidence, and move a failing estimate if fitting has shown that moving helps.

        Args:
            look: evidence for the rows; either none or all of them have had a second look.
            fold_B: as in Judge.

        Raises:
            ValueError: the evidence is of another kind than the corrector was fitted on.
        """
        constants = self.constants
        judge = self.first if look.second_BK is None else self.second
        if judge is None:
            raise ValueError("the corrector was fitted without a second network")
        joint_BK = joint_posterior(look, constants.joint_weights)
        age_B = decode_age(joint_BK, self.space, constants.decode)
        verdict = judge(look, joint_BK, age_B, self.space, constants.decode, fold_B)
        probs_BR, error_B, moved_B = verdict.probs_BR, verdict.error_B, age_B
        if constants.shrinkage > 0 and judge is (self.second or self.first):
            step_B = constants.shrinkage * residual_quantile(probs_BR, 0.5).clamp(-TRUST, TRUST)
            moved_B = torch.where(self._failing(error_B), self.space.clamp(age_B + step_B), age_B)
            raw_BS = expected_error(probs_BR[None], residuals(age_B), (moved_B - age_B)[:, None]).squeeze(0)
            error_B = torch.where(moved_B == age_B, error_B, judge.calibrated(raw_BS.squeeze(1)))
        return Opinion(
            moved_B,
            error_B,
            verdict.spread_B,
            age_B + residual_quantile(probs_BR, constants.alpha / 2),
            age_B + residual_quantile(probs_BR, 1 - constants.alpha / 2),
        )

    def settle(self, look: Look, ask: Ask | None, fold_B: Tensor | None = None) -> tuple[Judged, Opinion]:
        """Do what `label` does, but without the interval; also return each row's last opinion, for the interval."""
        last = self.judge(look, fold_B)
        first_age_B = decode_age(look.posterior_BK, self.space, self.constants.decode)
        corrections_B = torch.zeros_like(first_age_B, dtype=torch.long)
        rows = self._failing(last.error_B).nonzero().squeeze(1)
        if ask is not None and self.second is not None and len(rows):
            seen = look.at(rows).with_second(ask(rows))
            opinion = self.judge(seen, None if fold_B is None else fold_B[rows])
            # The latest evidence replaces the old. Keeping the look with the least ê would suffer from the winner's
            # curse; GEESE can do so because its errors are exact.
            last = Opinion(*(old.index_copy(0, rows, new) for old, new in zip(last, opinion, strict=True)))
            corrections_B[rows] = 1
        failed_B = self._failing(last.error_B)
        near_B = self.familiarity(look) <= self.constants.max_distance
        usual_B = (last.spread_B <= self.constants.max_spread) & near_B
        reason_B = torch.where(corrections_B > 0, OK_AFTER_SECOND_LOOK, OK)
        reason_B = reason_B.masked_fill(~usual_B, UNLIKE).masked_fill(failed_B, NOT_CONVERGED)
        judged = Judged(
            age_B=last.age_B,
            first_age_B=first_age_B,
            low_B=last.low_B,
            high_B=last.high_B,
            expected_error_B=last.error_B,
            corrections_B=corrections_B,
            accepted_B=~failed_B & usual_B,
            reason_B=reason_B,
        )
        return judged, last

    @torch.no_grad()
    def label(self, look: Look, ask: Ask | None) -> Judged:
        """Judge every row, have the second network look at the failing ones, and give each row an interval.

        Args:
            look: evidence for all rows, without the second network's posteriors.
            ask: called once, with the failing rows only; None if there is no second network.

        Raises:
            ValueError: the posteriors or the evidence are of another kind than the corrector was fitted on.
        """
        judged, last = self.settle(look, ask)
        constants = self.constants
        limits = (float(self.space.youngest), float(self.space.oldest))
        scale_B = last.error_B + constants.beta
        low_B, high_B = widen(last.low_B, last.high_B, scale_B, constants.band_quantiles, constants.band_edges, limits)
        return replace(judged, low_B=low_B.minimum(judged.age_B), high_B=high_B.maximum(judged.age_B))

    def _failing(self, error_B: Tensor) -> Tensor:
        # Not `error > ε`, so that a row whose posterior is NaN fails.
        return ~(error_B <= self.constants.epsilon)
