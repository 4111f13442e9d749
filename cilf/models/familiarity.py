"""How unlike the photographs of calibration an image is, by where the network places it and by its quality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cilf.models.evidence import Look

_SHRINKAGE = 0.1
"""Share of the identity in the correlations: a few thousand rows tell those of hundreds of columns only roughly."""
_USUAL = 0.995
"""Share of the rows whose distance is at most 1."""


class Cloud(nn.Module):
    """Mahalanobis distance from rows of one kind of numbers, over that of the farthest usual row.

    Args:
        mean_F, axes_FF: the centre, and what makes the F columns independent and the distance of usual rows 1.
    """

    mean_F: Tensor
    axes_FF: Tensor

    def __init__(self, mean_F: Tensor, axes_FF: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_F", mean_F)
        self.register_buffer("axes_FF", axes_FF)

    @classmethod
    def fit(cls, rows_NF: Tensor) -> Cloud:
        """Measure centre and correlations."""
        rows_NF = rows_NF.double()
        mean_F, std_F = rows_NF.mean(dim=0), rows_NF.std(dim=0).clamp(min=1e-3)
        scaled_NF = (rows_NF - mean_F) / std_F
        identity_FF = torch.eye(len(std_F), dtype=torch.float64, device=std_F.device)
        correlation_FF = (1 - _SHRINKAGE) * scaled_NF.T @ scaled_NF / len(scaled_NF) + _SHRINKAGE * identity_FF
        lower_FF = torch.linalg.cholesky(correlation_FF)
        axes_FF = torch.linalg.solve_triangular(lower_FF, identity_FF, upper=False).T / std_F[:, None]
        usual = ((rows_NF - mean_F) @ axes_FF).norm(dim=1).quantile(_USUAL)
        return cls(mean_F.float(), (axes_FF / usual).float().contiguous())

    def forward(self, rows_BF: Tensor) -> Tensor:
        """[B, F] -> [B]; the distance has no unit."""
        return ((rows_BF - self.mean_F) @ self.axes_FF).norm(dim=1)


class Familiarity(nn.Module):
    """The larger distance of the two: of embedding and of quality, where they are known.

    A network places faces in few directions, and other things elsewhere (Mahalanobis distance: Lee et al. 2018, arXiv
    1807.03888; here of one class, as ages are). A drawing, or a negative, of a face shows in its quality.
    """

    def __init__(self, clouds: Mapping[str, Cloud]) -> None:
        super().__init__()
        self.clouds = nn.ModuleDict(clouds)

    @classmethod
    def fit(cls, look: Look) -> Familiarity:
        """Measure what is known of the rows."""
        return cls({name: Cloud.fit(rows) for name, rows in _known(look).items()})

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Familiarity:
        """The one whose `state_dict` this was."""
        names = sorted({name.split(".")[1] for name in tensors})
        return cls({n: Cloud(*(tensors[f"clouds.{n}.{part}"] for part in ("mean_F", "axes_FF"))) for n in names})

    def forward(self, look: Look) -> Tensor:
        """Distance of each row, [B]: at most 1 for what is usual, 0 where nothing is known.

        Raises:
            ValueError: a look of another kind than it was fitted on.
        """
        known = _known(look)
        if known.keys() != self.clouds.keys():
            raise ValueError(
                f"the corrector was fitted on {' and '.join(self.clouds) or 'posteriors alone'}, but got "
                f"{' and '.join(known) or 'posteriors alone'}: give it the same kind of Look as in fitting"
            )
        nothing_B = look.posterior_BK.new_zeros(len(look))
        return torch.stack([nothing_B, *(self.clouds[name](rows) for name, rows in known.items())]).amax(dim=0)


def _known(look: Look) -> dict[str, Tensor]:
    parts = {"embedding": look.embedding_BC, "quality": look.quality_BQ}
    return {name: part for name, part in parts.items() if part is not None}
