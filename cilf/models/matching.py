"""Where image meets text: score maps, and the contrastive loss that keeps fused features in the text space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from cilf.ages import AgeSpace


def score_map(map_BCHW: Tensor, text: Tensor) -> Tensor:
    """Cosine of every cell with every age prompt (DenseCLIP, arXiv 2112.01518, eq. 5).

    Args:
        map_BCHW: dense map in the joint space.
        text: prompt vectors, [K, C], or [B, K, C] where the image has changed them.

    Returns:
        [B, K, H, W] in -1..1.
    """
    cells = F.normalize(map_BCHW, dim=1)
    text = F.normalize(text, dim=-1)
    return torch.einsum("bchw,kc->bkhw" if text.ndim == 2 else "bchw,bkc->bkhw", cells, text)


def matching_loss(
    joint_BC: Tensor, text_KC: Tensor, ages_B: Tensor, scale: Tensor, space: AgeSpace, sigma: float = 2.0
) -> Tensor:
    """Contrastive matching of fused images with the prompts of their ages, in both directions.

    Equal ages in a batch are not negatives of each other, so the targets are soft: Q_ij ∝ exp(-|y_i - y_j| / σ) with
    rows normalised. A class-level term against all K prompts carries no sampling noise. The soft targets and
    their widths are our own choice; the paper (arXiv 2312.01758) gives InfoNCE alone. In a process group the
    other ranks' images count too, equally many on each; gradients averaged over the ranks, as data-parallel training
    averages them, are those of all images in one process.

    Args:
        joint_BC: fused image vectors in the joint space.
        text_KC: prompt vectors *before* any image has changed them: t_b has seen the image, and matching it is trivial.
        ages_B: true ages, years.
        scale: exp of the learned log-temperature, a scalar.
        space: the classes.
        sigma: σ, also the width of the class-level label, years.
    """
    own_BC = F.normalize(joint_BC, dim=-1)
    text_KC = F.normalize(text_KC, dim=-1)
    class_term = F.cross_entropy(scale * own_BC @ text_KC.T, space.soft_labels(ages_B, sigma))
    joint_NC, ages_N = _gather(own_BC), _gather(ages_B)
    logits_NN = scale * joint_NC @ text_KC[space.classes(ages_N)].T
    targets_NN = (-(ages_N[:, None] - ages_N[None, :]).abs() / sigma).softmax(dim=1)
    pairs = F.cross_entropy(logits_NN, targets_NN) + F.cross_entropy(logits_NN.T, targets_NN)
    return 0.5 * pairs + class_term


def _gather(x: Tensor) -> Tensor:
    """Rows of every rank, with gradients; x itself outside a process group."""
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
