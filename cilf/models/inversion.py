"""Three ways to the estimate with the least judged error, inside a row's trust region.

`closed` reads it off the residual distribution. `gradient` and `candidates` search for it as GEESE does, and
exist to show that they find the same: a convex function of one number needs no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Mode = Literal["closed", "gradient", "candidates"]

_STARTS = 16
_STEPS = 50
_LEARNING_RATE = 1e-2
_BOUND_WEIGHT = 0.1
_SAMPLES = 32


def by_gradient(error: Callable[[Tensor], Tensor], low_B: Tensor, high_B: Tensor) -> Tensor:
    """Descend from 16 starts with Adam on x scaled to 0..1, pulled back when it leaves the region.

    Args:
        error: differentiable judged error of S estimates per row, [B, S] -> [B, S], years.
        low_B, high_B: the trust region, years.

    Returns:
        The best estimate of each row, [B] years.
    """
    span_B1 = (high_B - low_B)[:, None]
    starts_S = torch.linspace(0, 1, _STARTS, device=low_B.device, dtype=low_B.dtype)
    unit_BS = starts_S.expand(len(low_B), _STARTS).clone().requires_grad_()
    optimiser = torch.optim.Adam([unit_BS], lr=_LEARNING_RATE)
    # A constant rate would leave Adam circling within a step of the minimum.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            outside_BS = (-unit_BS).relu() + (unit_BS - 1).relu()
            total_BS = error(low_B[:, None] + span_B1 * unit_BS) + _BOUND_WEIGHT * span_B1 * outside_BS
            # With respect to x alone: whatever made the error keeps its weights.
            (unit_BS.grad,) = torch.autograd.grad(total_BS.sum(), [unit_BS])
            optimiser.step()
            schedule.step()
    found_BS = low_B[:, None] + span_B1 * unit_BS.detach().clamp(0, 1)
    return found_BS.gather(1, error(found_BS).argmin(dim=1, keepdim=True)).squeeze(1)


def by_candidates(
    error: Callable[[Tensor], Tensor], spread: Callable[[Tensor], Tensor], low_B: Tensor, high_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Judge 64 estimates per row: 32 over the region, 32 around the best; even spacing needs no seed.

    Args:
        error, spread: judged error, and its standard deviation over members, [B, S] -> [B, S], years.
        low_B, high_B: the trust region, years.

    Returns:
        The estimate to exploit, with the least error, and the one to explore, with the most disagreement.
    """
    unit_S = torch.linspace(0, 1, _SAMPLES, device=low_B.device, dtype=low_B.dtype)
    x_BS = torch.lerp(low_B[:, None], high_B[:, None], unit_S)
    explore_B1 = x_BS.gather(1, spread(x_BS).argmax(dim=1, keepdim=True))
    best_B1 = x_BS.gather(1, error(x_BS).argmin(dim=1, keepdim=True))
    # A convex error has its minimum beside the best sample.
    gap_B1 = (high_B - low_B)[:, None] / (_SAMPLES - 1)
    x_BS = torch.lerp((best_B1 - gap_B1).maximum(low_B[:, None]), (best_B1 + gap_B1).minimum(high_B[:, None]), unit_S)
    exploit_B1 = x_BS.gather(1, error(x_BS).argmin(dim=1, keepdim=True))
    return exploit_B1.squeeze(1), explore_B1.squeeze(1)
