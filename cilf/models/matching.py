"""Compares images with text: score maps, and the contrastive loss that keeps fused features in the text space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def score_map(map_BCHW: Tensor, text: Tensor) -> Tensor:
    """Cosine of every cell with every age prompt (DenseCLIP, arXiv 2112.01518, eq. 5).

    Args:
        map_BCHW: dense map in the joint space.
        text: prompt vectors, [K, C], or [B, K, C] if they depend on the image.

    Returns:
        [B, K, H, W] in -1..1.
    """
    cells = F.normalize(map_BCHW, dim=1)
    text = F.normalize(text, dim=-1)
    return torch.einsum("bchw,kc->bkhw" if text.ndim == 2 else "bchw,bkc->bkhw", cells, text)


def matching_loss(
    joint_BC: Tensor, text_BC: Tensor, ages_B: Tensor, kinds_B: Tensor, scale: Tensor, sigma: float = 2.0
) -> Tensor:
    """Contrastive matching of images with their captions, in both directions (CLIP, arXiv 2103.00020).

    Captions that differ only by their age are not plain negatives of each other, so the targets are soft: Q_ij ∝
    exp(-|y_i - y_j| / σ) where captions i and j are of one kind, and 0 where they are not. The soft targets are our own
    choice; CILF-CIAE (arXiv 2312.01758) uses InfoNCE alone. In a process group the images of all ranks count; each rank
    must have the same number. Gradients averaged over the ranks, as in data-parallel training, equal those of all
    images in one process.

    Args:
        joint_BC: image vectors in the joint space.
        text_BC: the vector of each image's caption, not conditioned on any image.
        ages_B: true ages, years.
        kinds_B: int64, equal for captions that are the same except for the age.
        scale: exp of the learned log-temperature, a scalar.
        sigma: σ, years.
    """
    joint_NC, text_NC = _gather(F.normalize(joint_BC, dim=-1)), _gather(F.normalize(text_BC, dim=-1))
    ages_N, kinds_N = _gather(ages_B), _gather(kinds_B)
    logits_NN = scale * joint_NC @ text_NC.T
    closeness_NN = -(ages_N[:, None] - ages_N[None, :]).abs() / sigma
    targets_NN = closeness_NN.masked_fill(kinds_N[:, None] != kinds_N[None, :], -float("inf")).softmax(dim=1)
    return 0.5 * (F.cross_entropy(logits_NN, targets_NN) + F.cross_entropy(logits_NN.T, targets_NN))


def _gather(x: Tensor) -> Tensor:
    """Gather the rows of all ranks, with gradients; outside a process group, x itself."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return x
    return _AllGather.apply(x)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BC: Tensor) -> Tensor:
        x_NC = x_BC.new_empty(distributed.get_world_size() * len(x_BC), *x_BC.shape[1:])
        distributed.all_gather_into_tensor(x_NC, x_BC.contiguous())
        return x_NC

    @staticmethod
    def backward(ctx: Any, grad_NC: Tensor) -> Tensor:
        # The losses of all ranks depend on these rows.
        grad_NC = grad_NC.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(grad_NC)
        return grad_NC.chunk(distributed.get_world_size())[distributed.get_rank()]
