"""Fitting the age head of the second network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from cilf.card import Images
from cilf.models.pixels import Normalise
from cilf.models.second import SecondNetwork
from cilf.training.age_head import HeadRows, fit_age_head, head_targets


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
    fit_age_head(network.head, _seen(network.eval(), images, batches, dtype), seed)
    return network


def _seen(
    network: SecondNetwork, images: Images, batches: Iterable[Mapping[str, Tensor]], dtype: torch.dtype
) -> HeadRows:
    normalise = Normalise(images).to(network.mean.device)
    parts = []
    for batch in batches:
        views = batch["image"].flatten(0, -4)
        pixels = normalise(views).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
            features = network.features(pixels).float()
        each = len(views) // len(batch["low"])
        low, high = (batch[name].repeat_interleave(each) for name in ("low", "high"))
        parts.append((features, head_targets(network.ages, low, high), low == high))
    if not parts:
        raise ValueError("the second network's head needs rows to learn from, and there are none")
    return HeadRows(*(torch.cat(column) for column in zip(*parts, strict=True)))
