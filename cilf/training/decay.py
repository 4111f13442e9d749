"""Selects the parameters that weight decay acts on: matrices that map one space to another, and nothing else."""

from __future__ import annotations

from torch import nn

_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_PLACES = (nn.LayerNorm, nn.Embedding)
_PLACED = ("embed", "token", "context", "bias", "base_")


def decays(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """True if weight decay acts on a module's own parameter of that name.

    Vectors and scalars of any shape (LayerScale is [C, 1, 1]), the parameters of norms, and the embeddings of
    positions, tokens and prompts are left out, because decay would only pull them to 0.
    """
    if isinstance(module, _MAPS):
        return name == "weight"
    is_vector = sum(side > 1 for side in parameter.shape) < 2
    return not (is_vector or isinstance(module, _PLACES) or any(word in name for word in _PLACED))
