"""An ensemble that predicts the error of an estimate x0, as a distribution over residuals r = y - x0.

GEESE learns the error e(x) of a state x itself. For ages, E|x - Y| is determined by the distribution of Y:
it is convex in x, 1-Lipschitz, has the slope 2 F(x) - 1 and its minimum at the median. So the ensemble learns
q(r | z), and error, best shift and quantiles all follow from it in closed form. This interpretation is our own.

The ensemble learns how q differs from the posterior that the estimate comes from: with few rows it learns little, and
its output then stays close to that posterior. Each member leaves out one fold of the subjects. While thresholds are
set, every row is judged by members that have not seen its subject; afterwards, by all members (cross-fitting;
cross-conformal prediction, Vovk 2015).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace

FOLDS = 4
_PER_FOLD = 2
MEMBERS = FOLDS * _PER_FOLD
REACH = 50  # residual classes -50 .. 50, years
_WIDTH = 64
_SMOOTHING = 1.0  # years
_UNIFORM = 0.01  # share of a posterior spread over all residuals: no class is impossible
_BATCH = 128
_PATIENCE = 3  # checks without a better validation loss


class ErrorEnsemble(nn.Module):
    """Independent MLPs, evidence -> 64 -> 64 -> 101 residual classes, as one batched product.

    q_l(r | z) = softmax(scale_l log b(r) + MLP_l(z)_r), where b is the posterior around the estimate. Members 0 and 1
    leave out fold 0, members 2 and 3 fold 1, and so on.

    Args:
        inputs: number of evidence columns Z.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        sizes = (inputs, _WIDTH, _WIDTH, 2 * REACH + 1)
        self.scale = nn.Parameter(torch.ones(MEMBERS, 1, 1))
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(MEMBERS, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.zeros(MEMBERS, 1, fan_out)))
        nn.init.zeros_(self.weights[-1])

    def forward(self, evidence: Tensor, base: Tensor) -> Tensor:
        """Residual logits [L, B, R].

        Args:
            evidence: scaled, [B, Z], or one batch per member, [L, B, Z].
            base: log b(r) from `around`, [B, R] or [L, B, R].
        """
        x = evidence
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                x = F.gelu(x)
            x = x @ weight + bias
        return x + self.scale * base

    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameter groups for an optimiser: weight decay acts on weight matrices only, as in cilf.training.decay."""
        return [
            {"params": list(self.weights), "weight_decay": 1e-2},
            {"params": [self.scale, *self.biases], "weight_decay": 0.0},
        ]


def around(probs_BK: Tensor, age_B: Tensor, space: AgeSpace) -> Tensor:
    """The posterior as log-probabilities of residuals from the estimate, [B, K], [B] years -> [B, R]."""
    place_BR = age_B[:, None] - space.youngest + residuals(age_B)
    below_BR = place_BR.floor()
    share_BR = place_BR - below_BR
    padded_BK = F.pad(probs_BK, (1, 1))
    left_BR, right_BR = (
        padded_BK.gather(1, (below_BR.nan_to_num() + 1 + step).clamp(0, len(space) + 1).long()) for step in (0, 1)
    )
    mass_BR = torch.lerp(left_BR, right_BR, share_BR)
    mass_BR = mass_BR / mass_BR.sum(dim=1, keepdim=True).clamp(min=_UNIFORM)
    return ((1 - _UNIFORM) * mass_BR + _UNIFORM / mass_BR.shape[1]).log()


def residuals(like: Tensor) -> Tensor:
    """The residual classes, [R] years, on the device and in the dtype of `like`."""
    return torch.arange(-REACH, REACH + 1, device=like.device, dtype=like.dtype)


def expected_error(probs_LBR: Tensor, classes_R: Tensor, x_BS: Tensor) -> Tensor:
    """E|x - Y| for S estimates x of each row, years: [L, B, R], [R], [B, S] -> [L, B, S].

    Each class is a year of uniform mass, as in AgeSpace.median, so an x inside it, t from its centre, is off
    by t² + 1/4 instead of |t|. That keeps the error convex and 1-Lipschitz, and makes the continuous median
    its exact minimum.
    """
    t_BSR = (x_BS[:, :, None] - classes_R).abs()
    return torch.einsum("lbr,bsr->lbs", probs_LBR, torch.where(t_BSR < 0.5, t_BSR.square() + 0.25, t_BSR))


def residual_quantile(probs_BR: Tensor, level: float) -> Tensor:
    """The continuous quantile of each row's residual distribution, [B, R] -> [B] years."""
    cdf_BR = probs_BR.cumsum(dim=1)
    k_B1 = (cdf_BR < level).sum(dim=1, keepdim=True).clamp(max=2 * REACH)
    mass_B1 = probs_BR.gather(1, k_B1)
    inside_B1 = 1 - (cdf_BR.gather(1, k_B1) - level) / mass_B1.clamp(min=1e-12)
    return (k_B1 - REACH - 0.5 + inside_B1.clamp(0, 1)).squeeze(1)


def bounded_loss(logits: Tensor, classes_R: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Negative log-likelihood of a value known to lie between two bounds: [..., R], [R], [...] -> [...] nats.

    If both bounds are equal, it is the cross-entropy with that value smoothed by a 1-year Gaussian; otherwise it is
    -log of the mass between them. Bounds outside the classes are clamped to the outermost.
    """
    log_BR = logits.log_softmax(dim=-1)
    low, high = (bound.clamp(classes_R[0], classes_R[-1])[..., None] for bound in (low, high))
    target = (-0.5 * ((classes_R - low) / _SMOOTHING).square()).softmax(dim=-1)
    exact = -(target * log_BR).sum(dim=-1)
    if torch.equal(low, high):
        return exact
    inside = (classes_R >= low - 0.5) & (classes_R <= high + 0.5)
    group = -log_BR.masked_fill(~inside, -math.inf).logsumexp(dim=-1)
    return torch.where((low == high).squeeze(-1), exact, group)


def folds_of(subject_N: Tensor, seed: int) -> Tensor:
    """The fold of each row, int64 [N]; rows of one subject share it."""
    subjects, of_row_N = subject_N.unique(return_inverse=True)
    order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed))
    return (order % FOLDS).to(of_row_N.device)[of_row_N]


def out_of_fold(logits_LBR: Tensor, fold_B: Tensor) -> Tensor:
    """Keep the members that have left out each row's fold, [L, B, R] -> [L / FOLDS, B, R]."""
    by_fold = logits_LBR.unflatten(0, (FOLDS, _PER_FOLD))
    return by_fold[fold_B, :, torch.arange(len(fold_B), device=fold_B.device)].transpose(0, 1)


def fit_ensemble(
    evidence_NZ: Tensor, base_NR: Tensor, low_N: Tensor, high_N: Tensor, fold_N: Tensor, seed: int
) -> ErrorEnsemble:
    """Fit every member on a bootstrap of the rows outside its fold, and keep its state with the least loss inside it.

    Args:
        evidence_NZ: scaled evidence.
        base_NR: from `around`.
        low_N, high_N: bounds of the residuals as in `bounded_loss`, for a network that was not trained on these rows:
            otherwise the ensemble predicts errors far too small, which cannot be detected here.
        fold_N: from `folds_of`.
        seed: seed for every random draw.

    Returns:
        The ensemble in eval mode.

    Raises:
        ValueError: a fold without rows.
    """
    if len(fold_N.unique()) < FOLDS:
        raise ValueError(f"the error ensemble needs rows of at least {FOLDS} subjects, got {len(fold_N.unique())}")
    device = evidence_NZ.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        ensemble = ErrorEnsemble(evidence_NZ.shape[1]).to(device)
        drawn_LN = torch.stack([_bootstrap(fold_N != member // _PER_FOLD) for member in range(MEMBERS)])
        optimiser = torch.optim.AdamW(ensemble.parameter_groups(), lr=1e-3, fused=True)
        epoch = math.ceil(drawn_LN.shape[1] / _BATCH)
        # On a small set, the 20 epochs that suit a large one are too few steps to fit it.
        limit, between = max(1000, 20 * epoch), max(50, epoch)
        best_L = torch.full((MEMBERS,), math.inf, device=device)
        kept = [p.detach().clone() for p in ensemble.parameters()]
        waited = 0
        for step in range(1, limit + 1):
            rows_LB = drawn_LN[:, torch.randint(drawn_LN.shape[1], (min(_BATCH, drawn_LN.shape[1]),), device=device)]
            logits_LBR = ensemble(evidence_NZ[rows_LB], base_NR[rows_LB])
            # Members share no weight: the sum of their losses trains each on its own.
            loss = bounded_loss(logits_LBR, residuals(logits_LBR), low_N[rows_LB], high_N[rows_LB]).mean(dim=1).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % between:
                continue
            loss_L = _left_out_loss(ensemble, evidence_NZ, base_NR, low_N, high_N, fold_N)
            better_L = loss_L < best_L
            best_L = torch.where(better_L, loss_L, best_L)
            for old, new in zip(kept, ensemble.parameters(), strict=True):
                old.copy_(torch.where(better_L[:, None, None], new.detach(), old))
            waited = 0 if better_L.any() else waited + 1
            if waited == _PATIENCE:
                break
    with torch.no_grad():
        for parameter, best in zip(ensemble.parameters(), kept, strict=True):
            parameter.copy_(best)
    return ensemble.eval().requires_grad_(False)


def _bootstrap(usable_N: Tensor) -> Tensor:
    """Rows drawn with replacement; their number is the same for every member, so that members train as one product."""
    rows = usable_N.nonzero().squeeze(1)
    count = round(len(usable_N) * (1 - 1 / FOLDS))
    return rows[torch.randint(len(rows), (count,), device=rows.device)]


@torch.no_grad()
def _left_out_loss(
    ensemble: ErrorEnsemble, evidence_NZ: Tensor, base_NR: Tensor, low_N: Tensor, high_N: Tensor, fold_N: Tensor
) -> Tensor:
    """The loss of each member on the fold that it leaves out, [L]."""
    logits_LNR = ensemble(evidence_NZ, base_NR)
    loss_LN = bounded_loss(logits_LNR, residuals(logits_LNR), low_N, high_N)
    outside_LN = fold_N != torch.arange(MEMBERS, device=fold_N.device)[:, None] // _PER_FOLD
    return loss_LN.masked_fill(outside_LN, 0).sum(dim=1) / (~outside_LN).sum(dim=1)
