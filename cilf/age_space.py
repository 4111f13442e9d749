"""The ages of a model: conversions between labels, classes and years. This is the only copy of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AgeSpace:
    """K whole-year classes a_k = youngest .. oldest, both included.

    Most off-by-one errors in age models come from several copies of this arithmetic; labels, heads,
    decoding and the corrector all share this one.
    """

    youngest: int = 0
    """Age of class 0, years."""
    oldest: int = 100
    """Age of the last class, years."""
    names: tuple[str, ...] | None = None
    """Names of the classes if they are ranks of another kind, such as decades. "Years" are then ranks."""

    def __post_init__(self) -> None:
        if not 0 <= self.youngest < self.oldest:
            raise ValueError(f"ages need 0 <= youngest < oldest, got {self.youngest} and {self.oldest}")
        if self.names is not None:
            if len(self.names) != len(self):
                raise ValueError(
                    f"names: {len(self.names)} names for the {len(self)} classes from youngest: {self.youngest} to "
                    f"oldest: {self.oldest}; each class needs one"
                )
            if len({name.strip() for name in self.names} - {""}) < len(self):
                raise ValueError(f"names: each class needs a name of its own, got {', '.join(map(repr, self.names))}")

    def __len__(self) -> int:
        return self.oldest - self.youngest + 1

    def years(self, like: Tensor) -> Tensor:
        """The class ages a_K, [K], on the device and in the dtype of `like` (a floating tensor)."""
        import torch

        return torch.arange(self.youngest, self.oldest + 1, device=like.device, dtype=like.dtype)

    def clamp(self, ages_B: Tensor) -> Tensor:
        """Ages in years, [B], clamped to the range."""
        return ages_B.clamp(self.youngest, self.oldest)

    def classes(self, ages_B: Tensor) -> Tensor:
        """Nearest class of each age in years, [B] -> int64 [B]. Ages outside the range go to its ends."""
        return (self.clamp(ages_B).round() - self.youngest).long()

    def soft_labels(self, ages_B: Tensor, sigma: float) -> Tensor:
        """Label distributions q_k ∝ exp(-(a_k - y)² / 2σ²) for ages in years, [B] -> [B, K]."""
        distance_BK = self.years(ages_B) - self.clamp(ages_B)[:, None]
        return (-0.5 * (distance_BK / sigma) ** 2).softmax(dim=1)

    def points(self, ages_B: Tensor) -> Tensor:
        """Posteriors that express one age each, years [B] -> [B, K]: the mass is shared by the two nearest classes, so
        that the mean is that age."""
        import torch

        distance_BK = (self.years(ages_B) - self.clamp(ages_B)[:, None]).abs()
        return torch.clamp(1 - distance_BK, min=0)

    def mean(self, probs_BK: Tensor) -> Tensor:
        """Expected age of each posterior, [B, K] -> [B] years: the minimiser of squared error."""
        return probs_BK @ self.years(probs_BK)

    def median(self, probs_BK: Tensor) -> Tensor:
        """Median age of each posterior, [B, K] -> [B] years: the minimiser of absolute error.

        Each class is read as one year of uniform mass around its age, so the median is continuous in the
        posterior instead of jumping from class to class.
        """
        cdf_BK = probs_BK.cumsum(dim=1) / probs_BK.sum(dim=1, keepdim=True)
        k_B1 = (cdf_BK < 0.5).sum(dim=1, keepdim=True).clamp(max=len(self) - 1)
        mass_B1 = probs_BK.gather(1, k_B1) / probs_BK.sum(dim=1, keepdim=True)
        below_B1 = cdf_BK.gather(1, k_B1) - mass_B1
        inside_B1 = ((0.5 - below_B1) / mass_B1.clamp(min=1e-12)).clamp(0, 1)
        return self.clamp((self.youngest + k_B1 - 0.5 + inside_B1).squeeze(1))

    def expected_error(self, probs_BK: Tensor, ages_B: Tensor) -> Tensor:
        """E|x - Y| under each posterior for estimates x in years, [B, K], [B] -> [B] years."""
        return (probs_BK * (self.years(probs_BK) - ages_B[:, None]).abs()).sum(dim=1)
