"""Where image meets text: score maps, and the contrastive loss that keeps fused features in the text space."""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as distributed
from torch import Tensor
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


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with target distributions, both [N, K]; mean over N."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def matching_loss(
    joint_BC: Tensor, text_KC: Tensor, ages_B: Tensor, scale: Tensor, space: AgeSpace, sigma: float = 2.0
) -> Tensor:
    """Contrastive matching of fused images with the prompts of their ages, in both directions.

    Equal ages in a batch are not negatives of each other, so the targets are soft: Q_ij ∝ exp(-|y_i - y_j| / 2) with
    rows normalised. A class-level term against all K prompts carries no sampling noise. The soft targets and
    their widths are our own choice; the paper (arXiv 2312.01758) gives InfoNCE alone. In a process group the
    other ranks' images count too.

    Args:
        joint_BC: fused image vectors in the joint space.
        text_KC: prompt vectors *before* any image has changed them: t_b has seen the image, and matching it is trivial.
        ages_B: true ages, years.
        scale: exp of the learned log-temperature, a scalar.
        space: the classes.
        sigma: width of the class-level label, years.
    """
    own_BC = F.normalize(joint_BC, dim=-1)
    text_KC = F.normalize(text_KC, dim=-1)
    class_term = soft_cross_entropy(scale * own_BC @ text_KC.T, space.soft_labels(ages_B, sigma))
    joint_NC, ages_N = _gather(own_BC), _gather(ages_B)
    logits_NN = scale * joint_NC @ text_KC[space.classes(ages_N)].T
    targets_NN = (-0.5 * (ages_N[:, None] - ages_N[None, :]).abs()).softmax(dim=1)
    pairs = soft_cross_entropy(logits_NN, targets_NN) + soft_cross_entropy(logits_NN.T, targets_NN)
    return 0.5 * pairs + class_term


def _gather(x: Tensor) -> Tensor:
    """Rows of every rank, with gradients; x itself outside a process group."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return x
    return torch.cat(distributed.all_gather(x.contiguous()))
