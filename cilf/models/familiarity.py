"""Measures how unlike the calibration photographs an image is, by its embedding and by its quality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cilf.models.evidence import Look

_SHRINKAGE = 0.1
"""Share of the identity in the correlation matrix: a few thousand rows give hundreds of columns only rough values."""
_USUAL = 0.995
"""Share of the fitted rows whose distance is at most 1."""


class Cloud(nn.Module):
    """Mahalanobis distance from a set of rows, divided by its _USUAL quantile over these rows.

    Args:
        mean_F: the centre.
        axes_FF: the matrix that decorrelates the F columns and scales the distance of the usual rows to at most 1.
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
        """Distance of each row, [B, F] -> [B]; without a unit."""
        return ((rows_BF - self.mean_F) @ self.axes_FF).norm(dim=1)


class Familiarity(nn.Module):
    """The larger of two distances, that of the embedding and that of the quality, for those that are known.

    A network maps faces to few directions, and other images elsewhere (Mahalanobis distance: Lee et al. 2018, arXiv
    1807.03888; here with one class, because ages form one). A drawing, or a negative, of a face shows in its quality.
    """

    def __init__(self, clouds: Mapping[str, Cloud]) -> None:
        super().__init__()
        self.clouds = nn.ModuleDict(clouds)

    @classmethod
    def fit(cls, look: Look) -> Familiarity:
        """Fit the distances of all evidence that the rows have."""
        return cls({name: Cloud.fit(rows) for name, rows in _known(look).items()})

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Familiarity:
        """Restore from a `state_dict`."""
        names = sorted({name.split(".")[1] for name in tensors})
        return cls({n: Cloud(*(tensors[f"clouds.{n}.{part}"] for part in ("mean_F", "axes_FF"))) for n in names})

    def forward(self, look: Look) -> Tensor:
        """Distance of each row, [B]: at most 1 for usual images, 0 if neither embedding nor quality is known.

        Raises:
            ValueError: the look has other fields than the one it was fitted on.
        """
        known = _known(look)
        if known.keys() != self.clouds.keys():
            raise ValueError(
                f"the corrector was fitted on {' and '.join(self.clouds) or 'posteriors alone'}, but got "
                f"{' and '.join(known) or 'posteriors alone'}: pass a Look with the same fields as in fitting"
            )
        nothing_B = look.posterior_BK.new_zeros(len(look))
        return torch.stack([nothing_B, *(self.clouds[name](rows) for name, rows in known.items())]).amax(dim=0)


def _known(look: Look) -> dict[str, Tensor]:
    parts = {"embedding": look.embedding_BC, "quality": look.quality_BQ}
    return {name: part for name, part in parts.items() if part is not None}
