"""Fits a corrector on predictions for people whom no network was trained on.

The judges are fitted by cross-fitting over subjects: each calibration row is judged by members that have left out its
subject (cilf.models.error_ensemble). The constants set on these judgements (isotonic maps, ε, two weights, λ, limits
and interval levels) are too few to overfit single rows.

Every year of an age group is taken as equally likely: one is drawn for each subject, and is used as the true age
wherever an error is learned or measured. So an interval contains a uniform age of the group as often as it guarantees,
and tends to be too wide for photographs like those whose labels are groups. For an open group, such as 70 and older,
the judges learn from the mass inside it; its rows are left out of all measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cilf.age_space import AgeSpace
from cilf.models.conformal import MIN_SUBJECTS, ClusteredMean, band_quantiles, check_alpha, clustered_mean
from cilf.models.correction_table import CorrectionTable
from cilf.models.corrector import Ask, Constants, Corrector, Judged, Opinion
from cilf.models.error_ensemble import around, bounded_loss, fit_ensemble, folds_of
from cilf.models.error_scale import isotonic_knots
from cilf.models.evidence import Decode, EvidenceScaler, decode_age, evidence, joint_posterior
from cilf.models.familiarity import Familiarity
from cilf.models.judge import Judge

BAND_EDGES = (12.5, 20.5, 40.5, 60.5)
"""Boundaries between children, teenagers, adults up to 40 and up to 60, and older people; years."""

# With this many subjects, the coverage that a band's own level reaches deviates by 5 % from its target. The level of
# all rows is off by more for some bands: it covered 70 % of the 13 to 20 year-olds.
_BAND_SUBJECTS = 30
_SHRINKAGES = (0.25, 0.5, 0.75, 1.0)
_LEVEL = 0.95


@dataclass(frozen=True)
class Plan:
    """The targets that a corrector is fitted to."""

    share: float = 0.2
    """Share of undegraded photographs whose estimate is to fail, so that the second network is asked about it. The
    second network takes two to three times as long as the first, so this costs a third of the model's time."""
    alpha: float = 0.1
    """Share of subjects that the interval may miss."""
    decode: Decode = "median"


def fit_corrector(space: AgeSpace, table: CorrectionTable, plan: Plan | None = None, seed: int = 0) -> Corrector:
    """Fit and calibrate a corrector.

    Args:
        space: the ages of the posteriors.
        table: predictions for rows of subjects that no network was trained on.
        plan: default `Plan()`.
        seed: seed for every random draw.

    Returns:
        A corrector on the device of the table. It asks the second network, and moves estimates, only if that could be
        shown to help; `second_look` and `moving` in its constants say why it does or does not.

    Raises:
        ValueError: too few subjects, ages or posteriors that are not finite, or an α that the subjects cannot support.
    """
    return _Fit(space, table, plan or Plan(), seed).corrector()


class _Fit:
    """The steps of one fit; each step takes the corrector that the previous one returned."""

    def __init__(self, space: AgeSpace, table: CorrectionTable, plan: Plan, seed: int) -> None:
        _check(table, plan)
        self.space, self.table, self.plan, self.seed = space, table, plan, seed
        self.fold_N = folds_of(table.subject_N, seed)
        self.truth_N = table.years(seed)
        self.known_N = table.measurable(space)
        self.first_look = table.look.with_second(None)

    def corrector(self) -> Corrector:
        constants = Constants(
            youngest=self.space.youngest, oldest=self.space.oldest, decode=self.plan.decode, alpha=self.plan.alpha
        )
        familiarity = Familiarity.fit(self.first_look)
        corrector = self._limits(Corrector(constants, familiarity, self._judge(constants, None)))
        corrector = self._moving(self._second_look(corrector))
        corrector = _with(corrector, measured=self._measured(corrector))
        return self._interval(corrector)

    def _judge(self, constants: Constants, asked_N: Tensor | None) -> Judge:
        """Fit the judge of first looks or, if `asked_N` marks rows for the second network, the judge of both looks.

        The judge learns from all rows; its isotonic map is fitted on the rows that it will be asked about.
        """
        look = self.first_look if asked_N is None else self.table.look
        joint_NK = joint_posterior(look, constants.joint_weights)
        age_N = decode_age(joint_NK, self.space, constants.decode)
        plain_NZ = evidence(look, joint_NK, self.space, constants.decode)
        scaler = EvidenceScaler.fit(plain_NZ)
        base_NR = around(joint_NK, age_N, self.space)
        low_N, high_N = (torch.where(self.known_N, self.truth_N, end_N) - age_N for end_N in self.table.ends)
        ensemble = fit_ensemble(scaler(plain_NZ), base_NR, low_N, high_N, self.fold_N, self.seed)
        same_2M = torch.tensor([[0.0, 1000.0], [0.0, 1000.0]], device=age_N.device)
        judge = Judge(scaler, ensemble, same_2M)
        raw_N = judge(look, joint_NK, age_N, self.space, constants.decode, self.fold_N).error_B
        rows = self.known_N if asked_N is None else self.known_N & asked_N
        return Judge(scaler, ensemble, isotonic_knots(raw_N[rows], (age_N - self.truth_N).abs()[rows]))

    def _limits(self, corrector: Corrector) -> Corrector:
        """Set ε, and limits of disagreement and distance that undegraded photographs rarely exceed."""
        clean = self.table.clean_N
        opinion = corrector.judge(self.first_look, self.fold_N)
        return _with(
            corrector,
            epsilon=float(opinion.error_B[clean].quantile(1 - self.plan.share)),
            max_spread=float(opinion.spread_B[clean].quantile(0.99)),
            max_distance=float(self._distances()[clean].quantile(0.995)),
        )

    def _distances(self) -> Tensor:
        """Distance of each row from the rows of other folds; measured against itself, no row would be distant."""
        distance_N = torch.zeros_like(self.truth_N)
        for fold in self.fold_N.unique():
            inside_N = self.fold_N == fold
            familiarity = Familiarity.fit(self.first_look.at(~inside_N))
            distance_N[inside_N] = familiarity(self.first_look.at(inside_N))
        return distance_N

    def _second_look(self, corrector: Corrector) -> Corrector:
        """Add the second network if asking it about failing rows is shown to help."""
        if self.table.look.second_BK is None:
            return _with(corrector, second_look="off: there is no second network")
        asked_N = ~(corrector.judge(self.first_look, self.fold_N).error_B <= corrector.constants.epsilon)
        subjects = len(self.table.subject_N[asked_N & self.known_N].unique())
        if subjects < MIN_SUBJECTS:
            return _with(corrector, second_look=f"off: {subjects} calibration subjects fail, too few to measure a gain")
        constants = corrector.constants.model_copy(update={"joint_weights": self._weights(asked_N)})
        asking = Corrector(constants, corrector.familiarity, corrector.first, self._judge(constants, asked_N))
        judged, _ = self._settle(asking)
        gain, share = self._gain(judged, judged.first_age_B)
        if gain.lower(_LEVEL) <= 0:
            return _with(corrector, second_look=f"off: no gain could be shown ({_told(gain, share)})")
        return _with(asking, second_look=f"on: {_told(gain, share)}")

    def _weights(self, asked_N: Tensor) -> tuple[float, float]:
        """Maximum-likelihood weights of both log-posteriors, on the rows that the second network is asked about."""
        rows = self.table.at(asked_N)
        years_K = self.space.years(rows.low_N)
        logits = [p.clamp(min=1e-6).log() for p in (rows.look.posterior_BK, rows.ask(torch.arange(len(rows))))]
        log_weights = torch.full((2,), math.log(0.5), device=years_K.device, requires_grad=True)
        optimiser = torch.optim.LBFGS([log_weights], max_iter=30, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            joint_BK = sum(w * x for w, x in zip(log_weights.exp(), logits, strict=True))
            mean = bounded_loss(joint_BK, years_K, rows.low_N, rows.high_N).mean()
            mean.backward()
            return mean

        optimiser.step(loss)
        first, second = log_weights.detach().exp().tolist()
        return first, second

    def _moving(self, corrector: Corrector) -> Corrector:
        """Set λ to the value with the largest proven gain, or to 0 if there is none.

        A gain is proven if, over the rows whose final age differs, the one-sided 95 % lower bound of the mean gain over
        never moving is above zero, Bonferroni-corrected for the number of λ tried.
        """
        still, _ = self._settle(corrector)
        level = 1 - (1 - _LEVEL) / len(_SHRINKAGES)
        best, most, tried = corrector, 0.0, []
        for shrinkage in _SHRINKAGES:
            moving = _with(corrector, shrinkage=shrinkage)
            gain, share = self._gain(self._settle(moving)[0], still.age_B)
            tried.append(gain.mean)
            # Both factors matter: a certain gain on a handful of rows is worth little.
            if gain.lower(level) * share > most:
                told = f"on: moved {_told(gain, share)}"
                best, most = _with(moving, moving=told), gain.lower(level) * share
        if best is corrector:
            means = [mean for mean in tried if math.isfinite(mean)]
            seen = f"mean gains between {min(means):+.2f} and {max(means):+.2f} years" if means else "no row moved"
            return _with(corrector, moving=f"off: no gain could be shown on calibration rows ({seen})")
        return best

    def _interval(self, corrector: Corrector) -> Corrector:
        """Set the conformal quantiles of the whole pipeline, one per band of true age."""
        constants = corrector.constants
        _, last = self._settle(corrector)
        scale_N = last.error_B + constants.beta
        scores_N = (last.low_B - self.truth_N).maximum(self.truth_N - last.high_B) / scale_N
        rows = self.known_N
        check_alpha(constants.alpha, len(self.table.subject_N[rows].unique()))
        quantiles, subjects = band_quantiles(
            scores_N[rows], self.truth_N[rows], self.table.subject_N[rows], constants.alpha, BAND_EDGES, _BAND_SUBJECTS
        )
        counts = {f"interval_subjects_band_{band}": float(n) for band, n in enumerate(subjects)}
        return _with(
            corrector, band_edges=BAND_EDGES, band_quantiles=quantiles, measured={**constants.measured, **counts}
        )

    def _settle(self, corrector: Corrector) -> tuple[Judged, Opinion]:
        ask: Ask | None = None if corrector.second is None else self.table.ask
        return corrector.settle(self.first_look, ask, self.fold_N)

    def _gain(self, judged: Judged, still_N: Tensor) -> tuple[ClusteredMean, float]:
        """Mean gain in years over `still_N` of the undegraded photographs whose final age differs, and their share."""
        clean = self.known_N & self.table.clean_N
        rows = clean & (judged.age_B != still_N)
        gain_N = (still_N - self.truth_N).abs() - (judged.age_B - self.truth_N).abs()
        return clustered_mean(gain_N[rows], self.table.subject_N[rows]), float(rows.sum() / clean.sum())

    def _measured(self, corrector: Corrector) -> dict[str, float]:
        """Metrics of the whole pipeline on undegraded photographs."""
        judged, _ = self._settle(corrector)
        rows = self.known_N & self.table.clean_N
        error_N = (judged.age_B - self.truth_N).abs()
        first_N = (judged.first_age_B - self.truth_N).abs()
        accepted = judged.accepted_B & rows
        return {
            "share_asked": float((judged.corrections_B[rows] > 0).double().mean()),
            "share_accepted": float(judged.accepted_B[rows].double().mean()),
            "accepted_mae": clustered_mean(error_N[accepted], self.table.subject_N[accepted]).mean,
            "mae": float(error_N[rows].mean()),
            "first_mae": float(first_N[rows].mean()),
        }


def _check(table: CorrectionTable, plan: Plan) -> None:
    if not (table.low_N.isfinite().all() and table.look.posterior_BK.isfinite().all()):
        raise ValueError("the calibration rows contain ages or posteriors that are not finite")
    subjects = len(table.subject_N.unique())
    if subjects < 2 * MIN_SUBJECTS:
        raise ValueError(f"the calibration rows have {subjects} subjects; at least {2 * MIN_SUBJECTS} are needed")
    check_alpha(plan.alpha, subjects)


def _told(gain: ClusteredMean, share: float) -> str:
    return (
        f"{share:.1%} of calibration rows, gaining {gain.mean:.2f} years each, "
        f"at least {gain.lower(_LEVEL):.2f} with 95 % confidence"
    )


def _with(corrector: Corrector, **changes: object) -> Corrector:
    """The same corrector with other constants."""
    constants = corrector.constants.model_copy(update=changes)
    return Corrector(constants, corrector.familiarity, corrector.first, corrector.second)
