"""Fitting an age head on features of frozen networks, which are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from cilf.age_space import AgeSpace
from cilf.models.cilf import LABEL_SIGMA, RANK_SIGMA

_EPOCHS = 12
_BATCH = 128
_RATE = 1e-3
_DECAY = 0.05
_LEAST_SPREAD = 1e-3
"""Least spread of a feature: one with less is not scaled up."""


class HeadRows(NamedTuple):
    features_NF: Tensor
    """float32."""
    targets_NK: Tensor
    """Label distributions of exact ages; 1 inside a group and 0 outside."""
    exact_N: Tensor


def head_targets(ages: AgeSpace, low_N: Tensor, high_N: Tensor) -> Tensor:
    """What a head learns of faces, float32 [N, K]: label distributions of exact ages; 1 inside a group and 0 outside.

    Args:
        ages: the classes.
        low_N, high_N: float32, years: both the age where it is known, else the ends of its group.
    """
    sigma = LABEL_SIGMA if ages.names is None else RANK_SIGMA
    years_K = ages.years(low_N)
    inside_NK = (years_K >= ages.clamp(low_N)[:, None]) & (years_K <= ages.clamp(high_N)[:, None])
    return torch.where((low_N == high_N)[:, None], ages.soft_labels(low_N, sigma), inside_NK.float())


def head_loss(logits_NK: Tensor, targets_NK: Tensor, exact_N: Tensor) -> Tensor:
    """Cross entropy with the label distribution of an exact age, -log of the mass inside a group; a mean over rows."""
    log_NK = logits_NK.log_softmax(dim=1)
    group_N = -(log_NK.masked_fill(targets_NK == 0, -torch.inf)).logsumexp(dim=1)
    return torch.where(exact_N, -(targets_NK * log_NK).sum(dim=1), group_N).mean()


def fit_age_head(head: nn.Sequential, rows: HeadRows, seed: int) -> None:
    """Learn on standardised features, then let the first layer do the standardising.

    Args:
        head: of which the first module is linear; changed in place, and in eval mode afterwards.
        rows: to learn from, at least one.
        seed: of the first weights and of the order of rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(head, rows)
    head.eval()


def _fit(head: nn.Sequential, rows: HeadRows) -> None:
    spread_F, mean_F = torch.std_mean(rows.features_NF, dim=0)
    spread_F = spread_F.clamp(min=_LEAST_SPREAD)
    features_NF = (rows.features_NF - mean_F) / spread_F
    layers = [layer for layer in head if isinstance(layer, nn.Linear)]
    for layer in layers:
        layer.reset_parameters()
    learned = [
        {"params": [layer.weight for layer in layers], "weight_decay": _DECAY},
        {"params": [layer.bias for layer in layers], "weight_decay": 0.0},
    ]
    optimiser = AdamW(learned, lr=_RATE)
    schedule = CosineAnnealingLR(optimiser, _EPOCHS * max(1, len(features_NF) // _BATCH))
    head.train()
    for part in _portions(len(features_NF)):
        loss = head_loss(head(features_NF[part]), rows.targets_NK[part], rows.exact_N[part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    _absorb(layers[0], mean_F, spread_F)


def _portions(rows: int) -> Iterator[Tensor]:
    """Numbers of the rows of each step. What is left over in one epoch may come in the next."""
    size = min(_BATCH, rows)
    for _ in range(_EPOCHS):
        yield from torch.randperm(rows)[: rows - rows % size].split(size)


@torch.no_grad()
def _absorb(layer: nn.Linear, mean_F: Tensor, spread_F: Tensor) -> None:
    layer.weight.div_(spread_F)
    layer.bias.sub_(layer.weight @ mean_F)
