"""From raw judged error to years: the weights of its terms and the isotonic map, fitted on labelled rows."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from torch import Tensor

from cilf.models.conformal import MIN_SUBJECTS, clustered_mean

_BIN_ROWS = 30
_MOST_BINS = 20


def weigh_terms(
    fit_TN: Tensor, fit_error_N: Tensor, judged_TN: Tensor, error_N: Tensor, subject_N: Tensor, seed: int
) -> tuple[float, ...]:
    """Non-negative least squares of the error on its terms; an explicit term has to earn its place.

    Term 0, the ensemble's, is always in. Another one stays only if, weighed on one half of the subjects, it
    lowers the squared error of ê on the other half by more than one standard error.

    Args:
        fit_TN: the terms, [T, N] years, at estimates x drawn around each row's own: at x0 alone, terms that
            differ only elsewhere could not be told apart.
        fit_error_N: |x - y| there.
        judged_TN, error_N: the same at the estimates themselves, where ê has to be right.
        subject_N: int64.
        seed: of the halves.

    Returns:
        T weights, without the intercept; 1 and zeros where no explicit term helps. The isotonic map sets offset
        and scale anyway.
    """
    subjects, of_row_N = subject_N.unique(return_inverse=True)
    order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed))
    half_N = (order.to(of_row_N.device) % 2 == 0)[of_row_N]

    def solve(chosen: list[int], rows_N: Tensor) -> tuple[Tensor, float]:
        # With an intercept, or any term at all would be kept to stand in for one.
        solver = LinearRegression(positive=True)
        solver.fit(fit_TN[chosen][:, rows_N].T.cpu().numpy(), fit_error_N[rows_N].cpu().numpy())
        return torch.as_tensor(solver.coef_).to(fit_TN), float(solver.intercept_)

    def loss(chosen: list[int]) -> Tensor:
        judged_N = torch.empty_like(error_N)
        for side_N in (half_N, ~half_N):
            weights, offset = solve(chosen, ~side_N)
            judged_N[side_N] = weights @ judged_TN[chosen][:, side_N] + offset
        return (judged_N - error_N).square()

    kept = [0]
    loss_N = loss(kept)
    for term in range(1, len(fit_TN)):
        candidate_N = loss([*kept, term])
        gain = clustered_mean(loss_N - candidate_N, subject_N)
        if gain.subjects >= MIN_SUBJECTS and gain.mean > gain.standard_error:
            kept, loss_N = [*kept, term], candidate_N
    if kept == [0]:
        return (1.0, *[0.0] * (len(fit_TN) - 1))
    solved = dict(zip(kept, solve(kept, torch.ones_like(half_N))[0].tolist(), strict=True))
    return tuple(solved.get(term, 0.0) for term in range(len(fit_TN)))


def isotonic_knots(raw_N: Tensor, error_N: Tensor) -> Tensor:
    """Knots of the monotone map from raw to expected error, float32 [2, 20]: abscissae over ordinates, years.

    Pool-adjacent-violators on bins of 30 rows or more, then a line through the centres of its blocks (centred
    isotonic regression, Oron & Flournoy 2017): steps would tie thousands of rows, and no ε parts a tie.
    Unused knots continue the last one at the right.
    """
    order = raw_N.argsort(stable=True).cpu().numpy()
    raw, error = raw_N.double().cpu().numpy(), error_N.double().cpu().numpy()
    bins = np.array_split(order, min(max(2, len(order) // _BIN_ROWS), _MOST_BINS))
    x = np.array([raw[rows].mean() for rows in bins])
    sizes = np.array([len(rows) for rows in bins])
    fitted = IsotonicRegression().fit(x, [error[rows].mean() for rows in bins], sample_weight=sizes)
    y = fitted.predict(x)
    levels = np.unique(y)
    centres = np.array([np.average(x[y == level], weights=sizes[y == level]) for level in levels])
    unused = _MOST_BINS - len(levels)
    centres = np.concatenate([centres, centres[-1] + 1 + np.arange(unused)])
    levels = np.concatenate([levels, np.repeat(levels[-1], unused)])
    return torch.tensor(np.stack([centres, levels]), dtype=torch.float32, device=raw_N.device)
