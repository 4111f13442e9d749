"""The labelled rows that a corrector is fitted on, with the outputs of the networks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cilf.age_space import AgeSpace
from cilf.models.evidence import Look


@dataclass(frozen=True)
class CorrectionTable:
    """Rows of people whom no network was trained on; all tensors on one device.

    A photograph may be there several times, unchanged and degraded; its rows share the subject.
    """

    look: Look
    """Holds the second network's posterior for every row, or for none."""
    low_N: Tensor
    high_N: Tensor
    """float32 years: both are the true age, or they are the ends of the age group; `high_N` of an open group is the
    oldest age."""
    subject_N: Tensor
    """int64: rows of one person share a number."""
    clean_N: Tensor
    """bool: True for photographs as they are in the data, False for degraded copies."""

    def __len__(self) -> int:
        return len(self.low_N)

    @classmethod
    def concatenated(cls, parts: Sequence[CorrectionTable]) -> CorrectionTable:
        """Concatenate parts that hold the same fields."""
        return cls(
            Look.concatenated([part.look for part in parts]),
            torch.cat([part.low_N for part in parts]),
            torch.cat([part.high_N for part in parts]),
            torch.cat([part.subject_N for part in parts]),
            torch.cat([part.clean_N for part in parts]),
        )

    def at(self, rows: Tensor | slice) -> CorrectionTable:
        """A table of the selected rows: int64 [n], bool [N] or a slice."""
        return CorrectionTable(
            self.look.at(rows), self.low_N[rows], self.high_N[rows], self.subject_N[rows], self.clean_N[rows]
        )

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The pair of `low_N` and `high_N`."""
        return self.low_N, self.high_N

    def ask(self, rows: Tensor) -> Tensor:
        """The second network's posteriors for rows; a corrector calls this as its `ask`."""
        assert self.look.second_BK is not None
        return self.look.second_BK[rows]

    def measurable(self, space: AgeSpace) -> Tensor:
        """Mask of the rows whose error can be measured, bool [N]: all but those of an open group."""
        return (self.low_N == self.high_N) | (self.high_N < space.oldest)

    def years(self, seed: int) -> Tensor:
        """A true age for each row, float32 [N]: for a row with a group, a year drawn evenly from it, the same for all
        of a subject's rows in that group."""
        subjects, of_row_N = self.subject_N.unique(return_inverse=True)
        drawn_S = torch.rand(len(subjects), generator=torch.Generator().manual_seed(seed))
        share_N = drawn_S.to(of_row_N.device)[of_row_N]
        return self.low_N + (share_N * (self.high_N - self.low_N + 1)).floor().minimum(self.high_N - self.low_N)
