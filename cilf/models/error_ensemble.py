"""How far off an estimate may be: an ensemble that gives a distribution over residuals r = y - x0.

GEESE learns the error e(x) of a state x itself. For ages, E|x - Y| is determined by the distribution of Y:
it is convex in x, 1-Lipschitz, has the slope 2 F(x) - 1 and its minimum at the median. So the ensemble learns
q(r | z), and error, best shift and quantiles all follow from it in closed form. This reading is our own.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEMBERS = 4
REACH = 50  # residual classes -50 .. 50, years
_WIDTH = 128
_DROPOUT = 0.1
_SMOOTHING = 1.0  # years
_BATCH = 128
_HELD = 0.15  # share of subjects held back for early stopping
_PATIENCE = 3  # checks without a better validation loss


class ErrorEnsemble(nn.Module):
    """Four independent MLPs, evidence -> 128 -> 128 -> 101 residual classes, as one batched product.

    Args:
        inputs: evidence columns Z.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        sizes = (inputs, _WIDTH, _WIDTH, 2 * REACH + 1)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(MEMBERS, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.zeros(MEMBERS, 1, fan_out)))

    def forward(self, evidence: Tensor) -> Tensor:
        """Scaled evidence, [B, Z] or one batch per member [L, B, Z] -> residual logits [L, B, R]."""
        x = evidence
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                x = F.dropout(F.gelu(x), _DROPOUT, self.training)
            x = x @ weight + bias
        return x


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


def residual_loss(logits: Tensor, residual: Tensor) -> Tensor:
    """Cross-entropy with residuals in years spread by a 1-year Gaussian: [..., R], [...] -> [...] nats."""
    distance = residuals(logits) - residual.clamp(-REACH, REACH)[..., None]
    target = (-0.5 * (distance / _SMOOTHING).square()).softmax(dim=-1)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1)


def fit_ensemble(
    evidence_VNZ: Tensor, residual_VN: Tensor, subject_N: Tensor, seed: int
) -> tuple[ErrorEnsemble, Tensor]:
    """Fit on out-of-fold rows: every member on its own bootstrap of rows, stopped early on unseen subjects.

    Args:
        evidence_VNZ: scaled evidence of N rows at V numbers of views; a step draws one of them per row.
        residual_VN: true age minus estimate, years. Residuals of a model on rows it was trained on make the
            ensemble claim errors far too small, and nothing here can tell.
        subject_N: int64; rows of one subject stay on one side.
        seed: every draw follows from it.

    Returns:
        The ensemble in eval mode, and a bool mask [N] of the rows it has not been fitted on.

    Raises:
        ValueError: fewer than two subjects.
    """
    device = evidence_VNZ.device
    subjects, of_row_N = subject_N.unique(return_inverse=True)
    if len(subjects) < 2:
        raise ValueError(f"the error ensemble needs rows of several subjects, got {len(subjects)}")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        shuffled = torch.randperm(len(subjects), device=device)
        held_N = (shuffled < max(1, round(_HELD * len(subjects))))[of_row_N]
        train = (~held_N).nonzero().squeeze(1)
        bootstrap_LN = train[torch.randint(len(train), (MEMBERS, len(train)), device=device)]
        ensemble = ErrorEnsemble(evidence_VNZ.shape[2]).to(device)
        optimiser = torch.optim.AdamW(ensemble.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
        epoch = math.ceil(len(train) / _BATCH)
        # A small set passes in few steps, so the 25 epochs of a large one would leave it unfitted.
        limit, between = max(2000, 25 * epoch), max(50, epoch)
        best_L = torch.full((MEMBERS,), math.inf, device=device)
        kept = [p.detach().clone() for p in ensemble.parameters()]
        waited = 0
        for step in range(1, limit + 1):
            ensemble.train()
            rows_LB = bootstrap_LN[:, torch.randint(len(train), (min(_BATCH, len(train)),), device=device)]
            views_LB = torch.randint(len(evidence_VNZ), rows_LB.shape, device=device)
            loss_LB = residual_loss(ensemble(evidence_VNZ[views_LB, rows_LB]), residual_VN[views_LB, rows_LB])
            optimiser.zero_grad()
            # Members share no weight: the sum of their losses trains each on its own.
            loss_LB.mean(dim=1).sum().backward()
            optimiser.step()
            if step % between:
                continue
            loss_L = _validation_loss(ensemble.eval(), evidence_VNZ[:, held_N], residual_VN[:, held_N])
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
    return ensemble.eval().requires_grad_(False), held_N


@torch.no_grad()
def _validation_loss(ensemble: ErrorEnsemble, evidence_VNZ: Tensor, residual_VN: Tensor) -> Tensor:
    logits_LBR = ensemble(evidence_VNZ.flatten(0, 1))
    return residual_loss(logits_LBR, residual_VN.flatten().expand(MEMBERS, -1)).mean(dim=1)
