"""Fit a corrector: the error ensemble on out-of-fold predictions, every threshold on held-out subjects.

Three sets of subjects, none of them shared. The out-of-fold rows were each predicted by a model that had not
seen their subject; they teach the ensemble. The calibration subjects, seen by no model and used for no early
stopping, are halved: A sets the isotonic map, ε, the shrinkage and the limits of acceptance, B the interval
of the whole pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cilf.ages import AgeSpace
from cilf.models.conformal import MIN_SUBJECTS, ClusteredMean, band_quantiles, check_alpha, clustered_mean
from cilf.models.corrector import NOT_CONVERGED, Constants, Corrector, error_term
from cilf.models.error_ensemble import fit_ensemble
from cilf.models.error_scale import isotonic_knots, weigh_terms
from cilf.models.evidence import Decode, EvidenceScaler, Predictions, Seen, decode_age, evidence
from cilf.models.inversion import Mode

BAND_EDGES = (12.5, 20.5, 40.5, 60.5)
"""Between children, teenagers, adults up to 40 and up to 60, and older people; years."""

# Of so many, the coverage that a band's own level reaches deviates by 5 % from what is asked. The level of all rows is
# wrong by more for some bands: for 13 to 20 year-olds it covered 70 %.
_BAND_SUBJECTS = 30
_SHRINKAGES = (0.25, 0.5, 0.75, 1.0)
_MIN_GAINS = (0.0, 0.25, 0.5)
_LEVEL = 0.95
_STRICTEST = 0.1  # share of calibration rows below the first ε that the fixed sequence tests


@dataclass(frozen=True)
class CorrectionTable:
    """Predictions of labelled rows under every view that correction may ask for; all on one device."""

    predictions: Predictions
    """At least `max_views` views each."""
    ages_N: Tensor
    """True ages, years."""
    subject_N: Tensor
    """int64: rows of one person share a number."""

    def __len__(self) -> int:
        return len(self.ages_N)

    @classmethod
    def concatenated(cls, parts: Sequence[CorrectionTable]) -> CorrectionTable:
        """All rows of parts that hold the same things."""
        return cls(
            Predictions.concatenated([part.predictions for part in parts]),
            torch.cat([part.ages_N for part in parts]),
            torch.cat([part.subject_N for part in parts]),
        )

    def to(self, device: str) -> CorrectionTable:
        """The same on another device."""
        p = self.predictions
        moved = (None if part is None else part.to(device) for part in (p.others_BVD, p.frozen_BC))
        return CorrectionTable(
            Predictions(p.probs_BVK.to(device), *moved), self.ages_N.to(device), self.subject_N.to(device)
        )

    def at(self, rows: Tensor) -> CorrectionTable:
        """The table of some rows, int64 or bool [n]."""
        p = self.predictions
        others, frozen = p.others_BVD, p.frozen_BC
        return CorrectionTable(
            Predictions(
                p.probs_BVK[rows],
                None if others is None else others[rows],
                None if frozen is None else frozen[rows],
            ),
            self.ages_N[rows],
            self.subject_N[rows],
        )

    def predict(self, rows: Tensor, first_view: int, n_views: int) -> Predictions:
        """Some views of some rows: the `Predict` of a pipeline run on this table."""
        p, views = self.predictions, slice(first_view, first_view + n_views)
        return Predictions(
            p.probs_BVK[rows, views],
            None if p.others_BVD is None else p.others_BVD[rows, views],
            None if p.frozen_BC is None else p.frozen_BC[rows],
        )

    def first(self, n_views: int) -> Predictions:
        """The first views of all rows."""
        return self.predict(torch.arange(len(self), device=self.ages_N.device), 0, n_views)


@dataclass(frozen=True)
class Plan:
    """What a corrector is to achieve."""

    target_mae: float | None = None
    """MAE that accepted rows must keep, years; None: ε follows from `extra_views` instead."""
    extra_views: float = 0.08
    """Further views that correction may cost per row on average; with two views at most, or one, it is the
    share of rows that fail."""
    max_views: int = 4
    """A power of two; 1: no further views are ever taken."""
    alpha: float = 0.1
    """Share of subjects that the interval may miss."""
    decode: Decode = "median"
    mode: Mode = "closed"


def fit_corrector(
    space: AgeSpace, oof: CorrectionTable, calibration: CorrectionTable, plan: Plan | None = None, seed: int = 0
) -> Corrector:
    """Fit and calibrate.

    Args:
        space: the ages of the posteriors.
        oof: out-of-fold predictions of training rows.
        calibration: predictions of rows of subjects that no model has seen.
        plan: default `Plan()`.
        seed: of every draw.

    Returns:
        A corrector on the device of the tables. Where moving an estimate could not be shown to help, its
        `shrinkage` is 0 and `moving` says so.

    Raises:
        ValueError: too few views or subjects, subjects on both sides, ages or posteriors that are not numbers,
            or an α that the calibration subjects cannot support.
    """
    plan = plan or Plan()
    if plan.max_views.bit_count() != 1:
        raise ValueError(f"max_views doubles from 1, so it must be a power of two, not {plan.max_views}")
    for name, table in (("out-of-fold", oof), ("calibration", calibration)):
        _check(table, name, plan.max_views)
    shared = int(torch.isin(calibration.subject_N.unique(), oof.subject_N).sum())
    if shared:
        raise ValueError(f"{shared} calibration subjects are also among the out-of-fold rows; split by subject")
    cal_a, cal_b = _halves(calibration, seed)
    check_alpha(plan.alpha, len(cal_b.subject_N.unique()))
    corrector = _fit_error(space, oof, plan, seed)
    corrector = _fit_scale(corrector, cal_a)
    corrector = _fit_limits(corrector, cal_a)
    corrector = _fit_epsilon(corrector, cal_a, plan)
    corrector = _fit_moving(corrector, cal_a, plan)
    return _fit_interval(corrector, cal_b)


def _check(table: CorrectionTable, name: str, max_views: int) -> None:
    views = table.predictions.probs_BVK.shape[1]
    if views < max_views:
        raise ValueError(f"the {name} rows have {views} views, but correction may ask for {max_views}")
    if not (table.ages_N.isfinite().all() and table.predictions.probs_BVK.isfinite().all()):
        raise ValueError(f"the {name} rows hold ages or posteriors that are not finite")
    subjects = len(table.subject_N.unique())
    if subjects < 2 * MIN_SUBJECTS:
        raise ValueError(f"the {name} rows show {subjects} subjects; {2 * MIN_SUBJECTS} are the least to go by")


def _halves(table: CorrectionTable, seed: int) -> tuple[CorrectionTable, CorrectionTable]:
    subjects, of_row_N = table.subject_N.unique(return_inverse=True)
    order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed))
    in_a_N = (order < len(subjects) // 2).to(of_row_N.device)[of_row_N]
    return table.at(in_a_N), table.at(~in_a_N)


def _stages(max_views: int) -> list[int]:
    """The numbers of views at which rows are judged."""
    return [2**k for k in range(max_views.bit_length())]


def _fit_error(space: AgeSpace, oof: CorrectionTable, plan: Plan, seed: int) -> Corrector:
    """Scaler, ensemble and the weights of the explicit terms."""
    seen_V = [Seen.of(oof.first(v), space, plan.decode) for v in _stages(plan.max_views)]
    plain_VNZ = torch.stack([evidence(seen, space, plan.decode) for seen in seen_V])
    scaler = EvidenceScaler.fit(plain_VNZ.flatten(0, 1), oof.predictions.frozen_BC)
    scaled_VNZ = torch.stack([scaler(z, seen.frozen_BC)[0] for z, seen in zip(plain_VNZ, seen_V, strict=True)])
    age_VN = torch.stack([decode_age(seen.posterior_BK, space, plan.decode) for seen in seen_V])
    ensemble, held_N = fit_ensemble(scaled_VNZ, oof.ages_N - age_VN, oof.subject_N, seed)
    probs_NR = ensemble(scaled_VNZ[0, held_N]).softmax(dim=-1).mean(dim=0)
    weights = _weigh(space, oof.at(held_N), seen_V[0].at(held_N), age_VN[0, held_N], probs_NR, seed)
    constants = Constants(
        youngest=space.youngest,
        oldest=space.oldest,
        decode=plan.decode,
        mode=plan.mode,
        max_views=plan.max_views,
        alpha=plan.alpha,
        term_weights=weights,
    )
    same_2M = torch.tensor([[0.0, 1000.0], [0.0, 1000.0]], device=oof.ages_N.device)
    return Corrector(constants, scaler, ensemble, same_2M.expand(len(seen_V), 2, 2).clone())


def _weigh(
    space: AgeSpace, table: CorrectionTable, seen: Seen, age_N: Tensor, probs_NR: Tensor, seed: int
) -> tuple[float, ...]:
    """Weights of the judged error's terms, on rows the ensemble has not been fitted on.

    Half of the x are the estimates themselves, 30 % lie around them (5 years), 20 % anywhere: our own choice.
    """
    generator = torch.Generator().manual_seed(seed)
    kind_N, noise_N, place_N = (
        draw(len(age_N), generator=generator).to(age_N) for draw in (torch.rand, torch.randn, torch.rand)
    )
    anywhere_N = space.youngest + (len(space) - 1) * place_N
    x_N = torch.where(kind_N < 0.5, age_N, torch.where(kind_N < 0.8, age_N + 5 * noise_N, anywhere_N))
    x_N2 = torch.stack([space.clamp(x_N), age_N], dim=1)
    terms = 2 + (0 if seen.others_BD is None else seen.others_BD.shape[1])
    term_TN2 = torch.stack([error_term(j, x_N2, age_N, probs_NR, seen, space) for j in range(terms)])
    error_N2 = (x_N2 - table.ages_N[:, None]).abs()
    return weigh_terms(term_TN2[..., 0], error_N2[:, 0], term_TN2[..., 1], error_N2[:, 1], table.subject_N, seed)


def _fit_scale(corrector: Corrector, table: CorrectionTable) -> Corrector:
    """The isotonic map at each number of views.

    One for all would not do: more views shrink the error, but need not shrink every term that stands for it.
    """
    knots = []
    for views in _stages(corrector.constants.max_views):
        opinion = corrector.judge(Seen.of(table.first(views), corrector.space, corrector.constants.decode))
        knots.append(isotonic_knots(opinion.error_B, (opinion.age_B - table.ages_N).abs()))
    return Corrector(corrector.constants, corrector.scaler, corrector.ensemble, torch.stack(knots))


def _fit_limits(corrector: Corrector, table: CorrectionTable) -> Corrector:
    """Disagreement and distance that calibration rows hardly ever reach."""
    opinion = corrector.judge(Seen.of(table.first(1), corrector.space, corrector.constants.decode))
    return _with(
        corrector,
        max_spread=float(opinion.spread_B.quantile(0.99)),
        max_distance=float(opinion.distance_B.quantile(0.995)),
    )


def _fit_epsilon(corrector: Corrector, table: CorrectionTable, plan: Plan) -> Corrector:
    """ε from strict to loose, each tried on the whole pipeline.

    For a target it is a fixed-sequence test (Learn-then-Test): the last ε before the first whose 95 % upper
    bound of the accepted rows' MAE misses the target. Where not even the strictest passes, and without a
    target, it is the least ε that the budget of views allows.
    """
    first = corrector.judge(Seen.of(table.first(1), corrector.space, corrector.constants.decode))
    if plan.target_mae is not None:
        passed = None
        for epsilon in _thresholds(first.error_B, torch.linspace(_STRICTEST, 1, 46)):
            tried = _with(corrector, epsilon=epsilon, epsilon_by="risk", target_mae=plan.target_mae)
            if _run(tried, table)["accepted_mae_upper"] > plan.target_mae:
                break
            passed = tried
        if passed is not None:
            return _with(passed, measured=_run(passed, table))
    # Fewer rows fail at a looser ε, so the first that fits is found by halving.
    candidates = _thresholds(first.error_B, torch.linspace(0, 1, 401))
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        ran = _run(_with(corrector, epsilon=candidates[middle]), table)
        cost = ran["views_per_row"] - 1 if plan.max_views > 1 else ran["share_not_converged"]
        low, high = (low, middle) if cost <= plan.extra_views else (middle + 1, high)
    chosen = _with(corrector, epsilon=candidates[low], epsilon_by="budget", target_mae=plan.target_mae)
    return _with(chosen, measured=_run(chosen, table))


def _thresholds(error_N: Tensor, shares: Tensor) -> list[float]:
    """Distinct quantiles of the judged error, ascending."""
    return sorted(set(error_N.double().quantile(shares.to(error_N).double(), interpolation="higher").tolist()))


def _fit_moving(corrector: Corrector, table: CorrectionTable, plan: Plan) -> Corrector:
    """λ and δ of the largest proven gain, or λ = 0.

    Proven: over the rows whose final age differs, the one-sided 95 % lower bound of the mean gain over never
    moving is above zero, Bonferroni-corrected for the number of pairs tried. The same pairing is asked again
    once ε has been chosen anew for the moved estimates.
    """
    still, _ = corrector.settle(table.first(1), table.predict)
    level = 1 - (1 - _LEVEL) / (len(_SHRINKAGES) * len(_MIN_GAINS))
    best, most, tried = None, 0.0, []
    for shrinkage in _SHRINKAGES:
        for min_gain in _MIN_GAINS:
            moving = _with(corrector, shrinkage=shrinkage, min_gain=min_gain)
            gain, share = _gain(moving, still.age_B, table)
            tried.append(gain.mean)
            # Both factors matter: a sure gain on a handful of rows is worth little.
            if gain.lower(level) * share > most:
                best, most = moving, gain.lower(level) * share
    if best is not None:
        best = _fit_epsilon(best, table, plan)
        still, _ = _with(best, shrinkage=0.0).settle(table.first(1), table.predict)
        best = best if _gain(best, still.age_B, table)[0].lower(level) > 0 else None
    if best is None:
        means = [mean for mean in tried if math.isfinite(mean)]
        seen = f"mean gains between {min(means):+.2f} and {max(means):+.2f} years" if means else "no row moved"
        return _with(corrector, shrinkage=0.0, moving=f"off: no gain could be shown on calibration rows ({seen})")
    gain, share = _gain(best, still.age_B, table)
    return _with(
        best,
        moving=f"on: moved {share:.1%} of calibration rows, gaining {gain.mean:.2f} years each, "
        f"at least {gain.lower(level):.2f} with 95 % confidence",
        measured=_run(best, table),
    )


def _gain(moving: Corrector, still_N: Tensor, table: CorrectionTable) -> tuple[ClusteredMean, float]:
    """Years by which the rows that end elsewhere than at `still_N` end nearer the truth, and their share."""
    judged, _ = moving.settle(table.first(1), table.predict)
    rows = judged.age_B != still_N
    gain_N = (still_N - table.ages_N).abs() - (judged.age_B - table.ages_N).abs()
    return clustered_mean(gain_N[rows], table.subject_N[rows]), float(rows.double().mean())


def _run(corrector: Corrector, table: CorrectionTable) -> dict[str, float]:
    """What the whole pipeline does on a table."""
    judged, _ = corrector.settle(table.first(1), table.predict)
    error_N = (judged.age_B - table.ages_N).abs()
    accepted = judged.accepted_B
    mae = clustered_mean(error_N[accepted], table.subject_N[accepted])
    return {
        "views_per_row": float((2.0**judged.corrections_B).mean()),
        "share_accepted": float(accepted.double().mean()),
        "share_not_converged": float((judged.reason_B == NOT_CONVERGED).double().mean()),
        "accepted_mae": mae.mean,
        "accepted_mae_upper": mae.upper(_LEVEL),
        "mae": float(error_N.mean()),
        "first_mae": float((judged.first_age_B - table.ages_N).abs().mean()),
    }


def _fit_interval(corrector: Corrector, table: CorrectionTable) -> Corrector:
    """Conformal quantiles of the whole pipeline, per band of true age."""
    constants = corrector.constants
    _, last = corrector.settle(table.first(1), table.predict)
    scores_N = (last.low_B - table.ages_N).maximum(table.ages_N - last.high_B) / (last.error_B + constants.beta)
    quantiles, subjects = band_quantiles(
        scores_N, table.ages_N, table.subject_N, constants.alpha, BAND_EDGES, _BAND_SUBJECTS
    )
    counts = {f"interval_subjects_band_{band}": float(n) for band, n in enumerate(subjects)}
    return _with(corrector, band_edges=BAND_EDGES, band_quantiles=quantiles, measured={**constants.measured, **counts})


def _with(corrector: Corrector, **changes: object) -> Corrector:
    """The same corrector with other constants."""
    constants = corrector.constants.model_copy(update=changes)
    return Corrector(constants, corrector.scaler, corrector.ensemble, corrector.knots_V2M)
