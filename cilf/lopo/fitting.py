"""Fits a head on the frozen rows of some people and applies it to others. Every system has the same training budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cilf.lopo.heads import CIAE, Given, OnFrozen, build
from cilf.models.cilf import Output
from cilf.models.system import Features, Step

EPOCHS = 20
"""Epochs of every fit; an epoch uses one view of each photograph, drawn from all views and their mirror images."""

BATCH = 128
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Peak learning rates of AdamW that are tried for each system; all other settings are the same for all systems."""

_WEIGHT_DECAY = 0.01  # of matrices
_WARM_UP = 0.1  # share of the steps; then a cosine to zero


@dataclass(frozen=True)
class Said:
    """A head's output for N photographs."""

    ages_N: Tensor
    """Age estimates from the plain view and its mirror image, years, decoded by the system's own rule."""
    posterior_NVK: Tensor | None
    """Posterior of each view, averaged over the view and its mirror image; None if the system has no posterior."""
    others_NVD: Tensor | None
    """CILF-CIAE's ages from the score map and the matching, years; None for other systems."""

    @classmethod
    def joined(cls, parts: Sequence[Said]) -> Said:
        """Concatenates parts of one system; at least one part."""
        ages_N = torch.cat([part.ages_N for part in parts])
        return cls(ages_N, _joined([p.posterior_NVK for p in parts]), _joined([p.others_NVD for p in parts]))

    def at(self, rows: Tensor) -> Said:
        """The output for some rows, int64 [n]."""
        posterior, others = (None if held is None else held[rows] for held in (self.posterior_NVK, self.others_NVD))
        return Said(self.ages_N[rows], posterior, others)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    held = [part for part in parts if part is not None]
    return torch.cat(held) if held else None


def fit(system: str, given: Given, x_NVMX: Tensor, ages_N: Tensor, rate: float, seed: int) -> OnFrozen:
    """Fits a head on all of the given rows and returns it in eval mode.

    Args:
        x_NVMX: frozen rows, cilf.lopo.features.
        ages_N: years.
        rate: peak learning rate.
        seed: seed for weights, order, views and dropout.
    """
    torch.manual_seed(seed)
    model = build(system, given)
    model.head.start_from(ages_N)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, fused=True)
    steps = max(1, len(ages_N) // BATCH)
    total = EPOCHS * steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total, pct_start=_WARM_UP, cycle_momentum=False, final_div_factor=1e6
    )
    x_NWX = x_NVMX.flatten(1, 2)
    for epoch in range(EPOCHS):
        model.train()
        order_N = torch.randperm(len(ages_N))
        for step, rows in enumerate(order_N[: steps * BATCH].tensor_split(steps)):
            x_BX = x_NWX[rows, torch.randint(x_NWX.shape[1], (len(rows),))]
            loss, _ = model.head.loss(model.head(model(x_BX)), ages_N[rows], Step(epoch * steps + step, total))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if model.head.rows_after_epoch:
            model.eval().head.after_epoch(_batches(model, x_NWX[:, 0], ages_N, model.head.rows_after_epoch))
    return model.eval()


def _batches(model: OnFrozen, x_NX: Tensor, ages_N: Tensor, wanted: int) -> Iterator[tuple[Features, Tensor]]:
    rows = torch.randperm(len(ages_N))[:wanted]
    with torch.no_grad():
        yield model(x_NX[rows]), ages_N[rows]


@torch.inference_mode()
def ask(system: str, model: OnFrozen, x_NVMX: Tensor) -> Said:
    """Applies a fitted head to other rows."""
    shape = x_NVMX.shape[:3]
    out = model.head(model(x_NVMX.flatten(0, 2)))
    decoded = model.head.decode(out)
    posterior_NVMK = None if decoded.posterior_BK is None else decoded.posterior_BK.unflatten(0, shape)
    ages_N = decoded.age_B.unflatten(0, shape)[:, 0].mean(dim=1)
    if posterior_NVMK is None:
        return Said(ages_N, None, None)
    posterior_NVK = posterior_NVMK.mean(dim=2)
    if system != CIAE:
        return Said(ages_N, posterior_NVK, None)
    assert isinstance(out, Output)
    space = model.head.ages
    others = [space.mean(p).unflatten(0, shape).mean(dim=2) for p in out.part_posteriors]
    # The median of the mean posterior, as in the estimator.
    return Said(space.median(posterior_NVK[:, 0]), posterior_NVK, torch.stack(others, dim=2))
