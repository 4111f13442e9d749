"""Fitting the age head of the second network, on features that are computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from cilf.ages import AgeSpace
from cilf.card import Images
from cilf.models.cilf import LABEL_SIGMA, RANK_SIGMA
from cilf.models.pixels import Normalise
from cilf.models.second import SecondNetwork

_EPOCHS = 12
_BATCH = 128
_RATE = 1e-3
_DECAY = 0.05
_LEAST_SPREAD = 1e-3
"""Least spread of a feature: one with less is not scaled up."""


def fit_second(
    network: SecondNetwork,
    images: Images,
    batches: Iterable[Mapping[str, Tensor]],
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> SecondNetwork:
    """Fit the head to labelled faces, with SFace as it is. SFace sees each image once; the rest takes a minute.

    Args:
        network: with SFace's weights; changed in place.
        images: how the first network sees crops.
        batches: `image` uint8 [B, S, S, C], or [B, V, S, S, C] for several views of each face; `low` and `high`
            float32 [B], years: both the age where it is known, else the ends of its group.
        seed: of the head's first weights and of the order of rows.
        dtype: what SFace computes in: float32, or bfloat16 by autocast.

    Returns:
        The network, in eval mode.

    Raises:
        ValueError: there are no rows.
    """
    rows = _seen(network.eval(), images, batches, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _fit(network.head, rows)
    return network.eval()


class _Rows(NamedTuple):
    features_NF: Tensor
    targets_NK: Tensor
    """Label distributions of exact ages; 1 inside a group and 0 outside."""
    exact_N: Tensor


def _seen(network: SecondNetwork, images: Images, batches: Iterable[Mapping[str, Tensor]], dtype: torch.dtype) -> _Rows:
    normalise = Normalise(images).to(network.mean.device)
    parts = []
    for batch in batches:
        views = batch["image"].flatten(0, -4)
        pixels = normalise(views).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
            features = network.features(pixels).float()
        each = len(views) // len(batch["low"])
        low, high = (batch[name].repeat_interleave(each) for name in ("low", "high"))
        parts.append((features, _targets(network.ages, low, high), low == high))
    if not parts:
        raise ValueError("the second network's head needs rows to learn from, and there are none")
    return _Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _targets(ages: AgeSpace, low_N: Tensor, high_N: Tensor) -> Tensor:
    sigma = LABEL_SIGMA if ages.names is None else RANK_SIGMA
    years_K = ages.years(low_N)
    inside_NK = (years_K >= ages.clamp(low_N)[:, None]) & (years_K <= ages.clamp(high_N)[:, None])
    return torch.where((low_N == high_N)[:, None], ages.soft_labels(low_N, sigma), inside_NK.float())


def second_loss(logits_NK: Tensor, targets_NK: Tensor, exact_N: Tensor) -> Tensor:
    """Cross entropy with the label distribution of an exact age, -log of the mass inside a group; a mean over rows."""
    log_NK = logits_NK.log_softmax(dim=1)
    group_N = -(log_NK.masked_fill(targets_NK == 0, -torch.inf)).logsumexp(dim=1)
    return torch.where(exact_N, -(targets_NK * log_NK).sum(dim=1), group_N).mean()


def _fit(head: nn.Sequential, rows: _Rows) -> None:
    """Learn on standardised features, then let the first layer do the standardising."""
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
        loss = second_loss(head(features_NF[part]), rows.targets_NK[part], rows.exact_N[part])
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
